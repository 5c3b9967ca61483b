"""What a tenant may rule: how low accounts may go, and which event types there are."""

from datetime import UTC, datetime, timedelta
from uuid import uuid4

import asyncpg
import pytest
from pydantic import TypeAdapter, ValidationError

from freehold.contracts.fields import DeclarableEventType
from freehold.ledger import client, rules
from freehold.ledger.append import Answer, AppendRequest, Capture, Outcome, Release
from freehold.ledger.client import Connection
from support.builders import append, append_request, new_event, new_hold, undo

FUNDS = Outcome.INSUFFICIENT_FUNDS
CREATED = Outcome.CREATED
DECLARABLE: TypeAdapter[str] = TypeAdapter(DeclarableEventType)


async def decide(connection: Connection, request: AppendRequest) -> Answer:
    (answer,) = await append(connection, [request])
    return answer


async def outcomes(connection: Connection, *requests: AppendRequest) -> list[Outcome]:
    return [answer.outcome for answer in await append(connection, requests)]


def take(amount: int, account_id: str = "cus_1", currency: str = "USD") -> AppendRequest:
    return append_request(new_event(account_id, -amount, currency=currency))


async def give(connection: Connection, amount: int, account_id: str = "cus_1") -> None:
    assert await outcomes(connection, take(-amount, account_id)) == [CREATED]


async def limit(connection: Connection, least: int | None, account_id: str = "cus_1") -> None:
    await rules.limit_account(connection, account_id, "USD", least)


async def test_an_account_is_taken_to_its_limit_and_no_further(connection: Connection) -> None:
    await give(connection, 100)
    await limit(connection, 0)
    assert await outcomes(connection, take(101)) == [FUNDS]
    assert await outcomes(connection, take(100)) == [CREATED]
    assert await outcomes(connection, take(1)) == [FUNDS]
    await limit(connection, -50)
    assert await outcomes(connection, take(51), take(50), take(1)) == [FUNDS, CREATED, FUNDS]
    await limit(connection, None)
    assert await outcomes(connection, take(10**12)) == [CREATED]


async def test_other_accounts_and_other_currencies_have_no_limit(connection: Connection) -> None:
    await limit(connection, 0)
    elsewhere = [take(1, "cus_2"), take(1, currency="EUR")]
    assert await outcomes(connection, *elsewhere, take(1)) == [CREATED, CREATED, FUNDS]
    # Nor do they lend anything, before they are projected or after.
    assert await outcomes(connection, take(-9, "cus_2"), take(-9, currency="EUR"), take(1)) == [
        CREATED,
        CREATED,
        FUNDS,
    ]
    assert await outcomes(connection, take(1)) == [FUNDS]
    await client.project(connection, 100)
    assert await outcomes(connection, take(1)) == [FUNDS]


async def test_a_refusal_says_which_event_takes_too_much(connection: Connection) -> None:
    await limit(connection, 0)
    await limit(connection, -5, "cus_2")
    requests = [
        append_request(new_event("cus_1", 3), new_event("cus_2", -1), new_event("cus_1", -4)),
        append_request(new_event("x", -9), new_event("cus_2", -9), new_event("cus_1", -4)),
    ]
    answers = await append(connection, requests)
    assert [(answer.outcome, answer.conflicting_id, answer.index) for answer in answers] == [
        (FUNDS, None, 2),
        (FUNDS, None, 1),
    ]
    assert not any(answer.events for answer in answers)


@pytest.mark.parametrize("projected", [0, 7, 10])
async def test_it_is_the_exact_balance_that_counts(connection: Connection, projected: int) -> None:
    for amount in range(1, 11):
        await give(connection, amount)
    await limit(connection, 0)
    await client.project(connection, projected)
    assert await outcomes(connection, take(56), take(55), take(1)) == [FUNDS, CREATED, FUNDS]


async def test_what_adds_is_never_refused(connection: Connection) -> None:
    assert await outcomes(connection, take(100)) == [CREATED]
    (hold,) = (await decide(connection, append_request(new_hold(amount_minor=30)))).events
    await limit(connection, 0)
    # It is 130 below, and only what lowers it further is refused.
    assert await outcomes(
        connection,
        take(-1),
        append_request(Capture(hold["hold_id"], 29)),
        append_request(new_event(amount_minor=-5), new_event(amount_minor=5)),
        take(1),
        take(-200),
        take(71),
        take(72),
    ) == [CREATED, CREATED, CREATED, FUNDS, CREATED, CREATED, FUNDS]
    (balance,) = await client.balances(connection, ["cus_1"], strong=True)
    assert balance["current_balance_minor"] == -100 + 1 - 29 + 200 - 71


async def test_the_events_of_a_request_are_netted(connection: Connection) -> None:
    await limit(connection, 0)
    await give(connection, 10)
    legs = [new_event(amount_minor=-50), new_event("cus_2", 10), new_event(amount_minor=40)]
    assert await outcomes(connection, append_request(*legs, transaction=True)) == [CREATED]
    assert await outcomes(connection, append_request(*legs, transaction=True)) == [FUNDS]
    # And so are those of a batch.
    assert await outcomes(connection, append_request(legs[0], new_event(amount_minor=50))) == [
        CREATED
    ]


async def test_reversals_and_holds_take_like_any_event(connection: Connection) -> None:
    answer = await decide(connection, append_request(new_event(amount_minor=100)))
    deposit = answer.events[0]["event_id"]
    await limit(connection, 0)
    place = append_request(new_hold(amount_minor=60))
    answers = await append(connection, [place, append_request(new_hold(amount_minor=41))])
    assert [answer.outcome for answer in answers] == [CREATED, FUNDS]
    hold_id = answers[0].events[0]["hold_id"]
    assert await outcomes(connection, take(41), append_request(undo(deposit))) == [FUNDS, FUNDS]
    # What a capture leaves of its hold can be taken by the next.
    assert await outcomes(connection, append_request(Capture(hold_id, 20)), take(81), take(80)) == [
        CREATED,
        FUNDS,
        CREATED,
    ]
    (balance,) = await client.balances(connection, ["cus_1"], strong=True)
    assert (balance["current_balance_minor"], balance["held_minor"]) == (0, 0)


async def test_a_release_makes_room_for_the_next_request(connection: Connection) -> None:
    await give(connection, 100)
    await limit(connection, 0)
    answer = await decide(connection, append_request(new_hold(amount_minor=100)))
    release = append_request(Release(answer.events[0]["hold_id"]))
    assert await outcomes(connection, take(1), release, take(100), take(1)) == [
        FUNDS,
        CREATED,
        CREATED,
        FUNDS,
    ]


async def test_a_request_refused_for_funds_gives_back_all_it_had_claimed(
    connection: Connection,
) -> None:
    await give(connection, 100)
    await give(connection, 100, "rich")
    (target,) = (await decide(connection, take(-30, "other"))).events
    for account_id in ("cus_1", "rich", "other"):
        await limit(connection, 0, account_id)
    await limit(connection, 10, "other")
    refused = append_request(
        new_event("rich", -90, external_id="x"), new_event("cus_1", -101, external_id="y"), key="k"
    )
    answers = await append(
        connection,
        [
            refused,
            append_request(new_event("rich", -100, external_id="y")),
            append_request(undo(target["event_id"]), key="u"),
            append_request(new_event("other", 11, external_id="x"), key="k"),
            append_request(undo(target["event_id"]), key="u"),
            append_request(new_event("cus_1", -100)),
        ],
    )
    assert [answer.outcome for answer in answers] == [
        FUNDS,
        CREATED,
        FUNDS,
        CREATED,
        CREATED,
        CREATED,
    ]
    assert [event["seq"] for answer in answers for event in answer.events] == [4, 5, 6, 7]
    assert (await client.verify(connection)).ok


async def test_sums_past_64_bits_are_decided_rightly(connection: Connection) -> None:
    largest = 2**63 - 1
    await limit(connection, largest)
    gifts = [take(-largest) for _ in range(3)]
    assert await outcomes(connection, *gifts, take(largest), take(largest), take(1)) == [
        *[CREATED] * 5,
        FUNDS,
    ]
    await limit(connection, -largest)
    batch = append_request(*(new_event(amount_minor=-largest) for _ in range(2)))
    assert await outcomes(connection, batch, take(1)) == [CREATED, FUNDS]


async def test_limits_are_listed_by_currency(connection: Connection) -> None:
    for currency, least in (("USD", 0), ("EUR", -(2**63)), ("JPY", 5), ("JPY", 2**63 - 1)):
        await rules.limit_account(connection, "cus_1", currency, least)
    await limit(connection, 7, "cus_2")
    assert [tuple(row) for row in await rules.limits_of(connection, "cus_1")] == [
        ("EUR", -(2**63)),
        ("JPY", 2**63 - 1),
        ("USD", 0),
    ]
    await limit(connection, None)
    await limit(connection, None)
    assert len(await rules.limits_of(connection, "cus_1")) == 2
    assert await rules.limits_of(connection, "unlimited") == []


async def test_an_append_without_rules_looks_at_none(connection: Connection) -> None:
    async def saved() -> tuple[bool, bool]:
        row = await connection.fetchrow(
            "SELECT with_account_limits, with_event_types FROM ledger_settings"
        )
        assert row is not None
        return tuple(row)

    assert await saved() == (False, False)
    await limit(connection, 0)
    await limit(connection, 0, "cus_2")
    assert await saved() == (True, False)
    await limit(connection, None)
    assert await saved() == (True, False)
    await limit(connection, None, "cus_2")
    assert await saved() == (False, False)
    await rules.close_event_types(connection, closed=True)
    assert await saved() == (False, True)
    await rules.close_event_types(connection, closed=False)
    assert await saved() == (False, False)
    await rules.declare_event_type(connection, "CHARGE", "any", "")
    await rules.close_event_types(connection, closed=False)
    assert await saved() == (False, True)


SIGNS = {"POSITIVE": "positive", "NEGATIVE": "negative", "ANY": "any"}


async def declare(connection: Connection) -> None:
    for event_type, sign in SIGNS.items():
        assert await rules.declare_event_type(connection, event_type, sign, "")


def of_type(event_type: str, amount: int) -> AppendRequest:
    return append_request(new_event(event_type=event_type, amount_minor=amount))


async def test_a_declared_type_allows_its_sign_only(connection: Connection) -> None:
    await declare(connection)
    for event_type, sign in SIGNS.items():
        assert await outcomes(connection, of_type(event_type, 1), of_type(event_type, -1)) == [
            Outcome.EVENT_TYPE_SIGN if sign == "negative" else CREATED,
            Outcome.EVENT_TYPE_SIGN if sign == "positive" else CREATED,
        ]
    # Others are open, until they are closed.
    assert await outcomes(connection, of_type("OTHER", 1)) == [CREATED]
    await rules.close_event_types(connection, closed=True)
    answer = await decide(
        connection, append_request(new_event(event_type="ANY"), new_event(event_type="OTHER"))
    )
    assert (answer.outcome, answer.index) == (Outcome.EVENT_TYPE_UNKNOWN, 1)
    assert await outcomes(connection, of_type("POSITIVE", 1)) == [CREATED]
    await rules.close_event_types(connection, closed=False)
    assert await outcomes(connection, of_type("OTHER", 1)) == [CREATED]


async def test_closed_without_a_declaration_refuses_every_type(connection: Connection) -> None:
    await rules.close_event_types(connection, closed=True)
    assert await outcomes(connection, of_type("CHARGE", 1)) == [Outcome.EVENT_TYPE_UNKNOWN]
    await rules.declare_event_type(connection, "CHARGE", "any", "")
    assert await outcomes(connection, of_type("CHARGE", 1)) == [CREATED]


async def test_a_declaration_can_be_changed(connection: Connection) -> None:
    await rules.declare_event_type(connection, "CHARGE", "positive", "one")
    await rules.declare_event_type(connection, "CHARGE", "negative", "other")
    assert await outcomes(connection, of_type("CHARGE", 1), of_type("CHARGE", -1)) == [
        Outcome.EVENT_TYPE_SIGN,
        CREATED,
    ]
    declared = await rules.event_types(connection)
    assert not declared.closed
    assert declared.declared == [
        {"event_type": "CHARGE", "sign": "negative", "description": "other"}
    ]


async def test_the_ledgers_own_types_need_no_declaration(connection: Connection) -> None:
    (event,) = (await decide(connection, of_type("CHARGE", 5))).events
    # As they could be before they were reserved.
    await rules.declare_event_type(connection, "REVERSAL", "positive", "")
    await rules.declare_event_type(connection, "HOLD", "positive", "")
    await rules.close_event_types(connection, closed=True)
    assert await outcomes(connection, append_request(undo(event["event_id"]))) == [CREATED]
    answer = await decide(connection, append_request(new_hold()))
    assert answer.outcome is CREATED
    settle = append_request(Capture(answer.events[0]["hold_id"], 1))
    assert await outcomes(connection, settle) == [CREATED]


@pytest.mark.parametrize("ruled", [False, True])
@pytest.mark.parametrize(
    "event_type",
    ["REVERSAL", "HOLD", "HOLD_CAPTURE", "HOLD_RELEASE", "HOLD_EXPIRY", "HOLD_", "REVERSAL_X"],
)
async def test_the_ledgers_own_types_are_no_tenants(
    connection: Connection, event_type: str, *, ruled: bool
) -> None:
    with pytest.raises(ValidationError, match="ledger's own"):
        DECLARABLE.validate_python(event_type)
    own = new_event("cus_1", -100, event_type=event_type)
    likes = ["THRESHOLD", "REVERSALS", "HOLDING", "A_HOLD"]
    if ruled:
        for declared in (event_type, "CHARGE", *likes):
            await rules.declare_event_type(connection, declared, "any", "")
        await rules.close_event_types(connection, closed=True)
    refused = [
        append_request(own),
        append_request(new_event(), own),
        append_request(new_event(), own, transaction=True),
        # As an import asks.
        AppendRequest(None, "", [own.model_copy(update={"external_id": "x"})]),
    ]
    for together in ([one] for one in refused), [refused]:
        for requests in together:
            answers = await append(connection, requests)
            assert {answer.outcome for answer in answers} == {Outcome.EVENT_TYPE_RESERVED}
            assert [answer.index for answer in answers] == [
                len(request.additions) - 1 for request in requests
            ]
    assert await outcomes(connection, *(of_type(like, 5) for like in likes)) == [CREATED] * 4


async def test_there_can_be_too_many_declarations(connection: Connection) -> None:
    declare = "SELECT count(*) FROM declare_event_type($1, 'any', '', 3)"
    declared = [
        await connection.fetchval(declare, event_type) for event_type in ("A", "B", "C", "D", "A")
    ]
    assert declared == [1, 1, 1, 0, 1]
    with pytest.raises(asyncpg.CheckViolationError):
        await rules.declare_event_type(connection, "A", "sideways", "")


async def test_of_several_reasons_the_first_events_comes_first_and_funds_last(
    connection: Connection,
) -> None:
    await append(connection, [append_request(new_event("x", external_id="taken"))])
    await declare(connection)
    await limit(connection, 0)
    wrong = new_event(event_type="NEGATIVE")
    taken = new_event(external_id="taken")
    both = new_event(event_type="NEGATIVE", external_id="taken")
    past = new_hold(expires_at=datetime.now(UTC) - timedelta(hours=1), external_id="taken")
    dear = new_event(amount_minor=-1)
    requests = {
        append_request(dear, taken, wrong): (Outcome.DUPLICATE_EXTERNAL_ID, 1),
        append_request(dear, wrong, taken): (Outcome.EVENT_TYPE_SIGN, 1),
        append_request(both): (Outcome.DUPLICATE_EXTERNAL_ID, 0),
        append_request(past): (Outcome.DUPLICATE_EXTERNAL_ID, 0),
        append_request(past.model_copy(update={"external_id": None})): (
            Outcome.HOLD_EXPIRY_PAST,
            0,
        ),
        append_request(dear, transaction=True): (Outcome.UNBALANCED, None),
        append_request(dear, wrong, transaction=True): (Outcome.EVENT_TYPE_SIGN, 1),
        append_request(dear, undo(uuid4())): (Outcome.EVENT_NOT_FOUND, 1),
        append_request(new_event(amount_minor=1), dear, dear): (FUNDS, 1),
    }
    answers = await append(connection, list(requests))
    assert [(answer.outcome, answer.index) for answer in answers] == list(requests.values())
    assert (await client.head(connection)).seq == 1
