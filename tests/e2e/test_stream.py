"""Live balances: who listens sees what the balances are, whatever happens to the connection."""

import asyncio
import random
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from support.answers import created, found, pointers, problem
from support.clients import Freehold, Tenant, event_body
from support.live import Live, listening
from support.load import load_on

SOON_S = 2.0
"""Within this time the stream of a client who may not read any more ends."""


async def balance_in_list(tenant: Tenant, account_id: str) -> Any:
    (balance,) = found(await tenant.get("/balances", account_prefix=account_id))["data"]
    return balance


async def test_a_change_is_sent_as_the_list_answers_it(tenant: Tenant) -> None:
    async with listening(tenant) as live:
        await tenant.append(account_id="cus_1", amount_minor=70)
        await live.shows({("cus_1", "USD"): 70})
        assert live.events[-1].data == await balance_in_list(tenant, "cus_1")
        await tenant.append(account_id="cus_1", amount_minor=-7)
        await tenant.append(account_id="cus_2", amount_minor=5, currency="JPY")
        await live.shows({("cus_1", "USD"): 63, ("cus_2", "JPY"): 5})
    assert set(live.kinds) == {"balance"}
    assert live.retry_ms is not None


async def test_holds_and_reversals_are_changes(tenant: Tenant) -> None:
    event = await tenant.append(account_id="cus_1", amount_minor=70)
    async with listening(tenant, snapshot="true") as live:
        hold = {"account_id": "cus_1", "currency": "USD", "amount_minor": 30}
        assert (await tenant.post("/holds", hold)).status_code == 201

        await live.until(
            lambda live: bool(live.events) and live.events[-1].data["available_minor"] == 40,
            "the hold is shown",
        )
        await tenant.reverse(event.event_id)
        await live.shows({("cus_1", "USD"): 0})


async def test_a_snapshot_comes_first_where_asked_for(tenant: Tenant) -> None:
    await tenant.append_batch([event_body(account_id=f"cus_{number}") for number in range(1_100)])
    await tenant.caught_up()
    before = await tenant.all_balances()
    async with (
        listening(tenant, snapshot="true") as live,
        listening(tenant) as only_changes,
        listening(tenant, snapshot="false", account_prefix="cus_10") as some_changes,
        listening(tenant, snapshot="true", account_prefix="cus_10") as some,
    ):
        await live.shows(before)
        await some.shows({b: amount for b, amount in before.items() if b[0].startswith("cus_10")})
        await tenant.append(account_id="cus_10")
        await only_changes.shows({("cus_10", "USD"): 4000})
        await some_changes.shows({("cus_10", "USD"): 4000})
        await live.shows({**before, ("cus_10", "USD"): 4000})
    assert len(live.events) == 1_101


async def test_only_accounts_with_the_prefix_are_sent(tenant: Tenant) -> None:
    async with (
        listening(tenant, account_prefix="cus_1") as ones,
        listening(tenant, account_prefix="cus_") as all_customers,
        listening(tenant, account_prefix="cus_12345") as longer,
        listening(tenant, account_prefix="%") as literal,
    ):
        for name in ("cus_1", "cus_12", "cus_2", "till"):
            await tenant.append(account_id=name, amount_minor=1)
        await all_customers.shows({(f"cus_{n}", "USD"): 1 for n in ("1", "12", "2")})
        await ones.shows({("cus_1", "USD"): 1, ("cus_12", "USD"): 1})
        assert len(ones.events) == 2
        assert longer.events == literal.events == []


async def test_another_tenants_changes_are_never_sent(tenant: Tenant, other_tenant: Tenant) -> None:
    async with (
        listening(tenant, snapshot="true") as ours,
        listening(other_tenant, snapshot="true") as theirs,
    ):
        await other_tenant.append(amount_minor=20)
        await theirs.shows({("cus_42", "USD"): 20})
        await tenant.append(amount_minor=1)
        await ours.shows({("cus_42", "USD"): 1})
    assert len(ours.events) == len(theirs.events) == 1


@pytest.mark.parametrize("by_header", [True, False], ids=["header", "parameter"])
async def test_a_stream_resumes_where_the_last_one_ended(tenant: Tenant, by_header: bool) -> None:
    async with listening(tenant) as before:
        await tenant.append(account_id="cus_1")
        await tenant.append(account_id="cus_2")
        await before.shows({("cus_1", "USD"): 2000, ("cus_2", "USD"): 2000})
    await tenant.append(account_id="cus_2")
    await tenant.append(account_id="cus_3")
    await tenant.caught_up()
    headers = {"Last-Event-ID": before.last_id} if by_header else {}
    params: dict[str, Any] = {} if by_header else {"last_event_id": before.last_id}
    async with listening(tenant, headers, snapshot="true", **params) as after:
        # A snapshot would repeat the first.
        await after.shows({("cus_2", "USD"): 4000, ("cus_3", "USD"): 2000})
        await tenant.append(account_id="cus_4")
        await after.shows({("cus_2", "USD"): 4000, ("cus_3", "USD"): 2000, ("cus_4", "USD"): 2000})


async def test_every_id_resumes_and_the_first_comes_before_any_change(tenant: Tenant) -> None:
    async with listening(tenant) as live:
        await live.until(lambda live: bool(live.last_id), "the first id")
        first_id = live.last_id
        for number in range(6):
            await tenant.append(account_id=f"cus_{number % 3}", amount_minor=1)
        await live.shows({(f"cus_{n}", "USD"): 2 for n in range(3)})
    assert live.events
    for last_id in {first_id, *(event.event_id for event in live.events)}:
        later = {
            balance: amount
            for balance, amount in live.balances.items()
            if balance in changed_after(live, last_id)
        }
        async with listening(tenant, {"Last-Event-ID": last_id}) as resumed:
            await resumed.shows(later)


async def test_a_snapshot_that_was_cut_off_goes_on(tenant: Tenant) -> None:
    await tenant.append_batch([event_body(account_id=f"cus_{number}") for number in range(700)])
    await tenant.caught_up()
    async with listening(tenant, snapshot="true") as whole:
        await whole.until(lambda live: len(live.balances) == 700, "the snapshot is whole")
    for place in (0, 350, 698):
        last_id = whole.events[place].event_id
        expected = [event.data for event in whole.events[place + 1 :]]
        async with listening(tenant, {"Last-Event-ID": last_id}, snapshot="true") as rest:
            # The comment after the last balance.
            await rest.until(lambda live: live.comments == 2, "the rest")
            assert [event.data for event in rest.events] == expected


async def test_whoever_is_far_behind_gets_what_changed(tenant: Tenant) -> None:
    await tenant.append(account_id="still")
    await tenant.caught_up()
    async with listening(tenant) as before:
        await tenant.append(account_id="cus_1", amount_minor=1)
        await before.shows({("cus_1", "USD"): 1})
    for _ in range(2):
        await tenant.append_batch(
            [event_body(account_id=f"cus_{n % 600}", amount_minor=1) for n in range(6_000)]
        )
    await tenant.caught_up()
    state = await tenant.all_balances()
    del state["still", "USD"]
    async with listening(tenant, {"Last-Event-ID": before.last_id}) as after:
        await after.shows(state)


async def test_random_cuts_lose_nothing(tenant: Tenant) -> None:
    chance = random.Random(15)
    page = Live()
    async with load_on([tenant]) as load:
        for _ in range(25):
            headers = {"Last-Event-ID": page.last_id} if page.last_id else {}
            async with listening(tenant, headers, snapshot="true", into=page):
                await asyncio.sleep(chance.uniform(0, 0.2))
        await load.more(20)
    await tenant.caught_up()
    async with listening(tenant, {"Last-Event-ID": page.last_id}, snapshot="true", into=page):
        await page.shows(await tenant.all_balances())


async def test_ids_of_others_are_refused_before_the_stream_begins(
    tenant: Tenant, other_tenant: Tenant
) -> None:
    await tenant.append()
    async with listening(tenant, snapshot="true", account_prefix="cus") as live:
        await live.shows({("cus_42", "USD"): 2000})
    for asker, last_id, prefix in (
        (other_tenant, live.last_id, "cus"),
        (tenant, live.last_id, ""),
        (tenant, live.last_id, "cus_"),
        (tenant, live.last_id[:-2], "cus"),
        (tenant, "7", "cus"),
    ):
        answers = [
            await asker.get("/stream", {"account_prefix": prefix, "last_event_id": last_id}),
            await asker.get(
                "/stream", {"account_prefix": prefix}, headers={"Last-Event-ID": last_id}
            ),
        ]
        for answer in answers:
            assert pointers(answer) == ["/last_event_id"]


@pytest.mark.parametrize(
    ("params", "pointer"),
    [
        ({"snapshot": "yes"}, "/snapshot"),
        ({"amounts": "float"}, "/amounts"),
        ({"account_prefix": "a\n"}, "/account_prefix"),
        ({"prefix": "a"}, "/prefix"),
    ],
)
async def test_bad_parameters_are_refused(
    refused_tenant: Tenant, params: dict[str, str], pointer: str
) -> None:
    assert pointers(await refused_tenant.get("/stream", params)) == [pointer]


async def test_a_stream_needs_the_scope_read(refused_tenant: Tenant) -> None:
    problem(await (await refused_tenant.limited_to("audit")).get("/stream"), "missing-scope")
    problem(await refused_tenant.bearing("fh_none_none").get("/stream"), "unauthorized")


async def test_the_head_of_a_stream_has_no_body(tenant: Tenant) -> None:
    answer = await tenant.freehold.send(
        "HEAD",
        f"{tenant.freehold.addresses.query}/v1/stream",
        headers={"Authorization": f"Bearer {tenant.api_key}"},
    )
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("text/event-stream")


@pytest.mark.parametrize(
    ("headers", "params"), [({"Prefer": "amounts=string"}, {}), ({}, {"amounts": "string"})]
)
async def test_amounts_are_strings_where_preferred(
    tenant: Tenant, headers: dict[str, str], params: dict[str, Any]
) -> None:
    async with listening(tenant, headers, snapshot="true", **params) as live:
        await tenant.append(amount_minor=2**60)
        await live.shows({("cus_42", "USD"): 2**60})
        assert live.events[-1].data["current_balance_minor"] == str(2**60)


async def read_token(tenant: Tenant, **body: Any) -> str:
    answer = await tenant.freehold.ask(
        "POST",
        f"{tenant.freehold.addresses.query}/v1/read-tokens",
        bearer=tenant.api_key,
        body=body,
    )
    token: str = created(answer)["token"]
    return token


@pytest.mark.parametrize("as_parameter", [True, False], ids=["parameter", "header"])
async def test_a_read_token_sees_its_accounts_alone(tenant: Tenant, as_parameter: bool) -> None:
    token = await read_token(tenant, account_prefix="cus_4")
    bearer = tenant.bearing("" if as_parameter else token)
    params: dict[str, Any] = {"token": token} if as_parameter else {}
    await tenant.append(account_id="till")
    async with (
        listening(bearer, snapshot="true", **params) as theirs,
        listening(bearer, snapshot="true", account_prefix="cus_42", **params) as narrower,
        listening(bearer, snapshot="true", account_prefix="till", **params) as outside,
        listening(tenant, snapshot="true") as everything,
    ):
        await tenant.append(account_id="cus_41")
        await tenant.append(account_id="cus_42")
        await tenant.append(account_id="cus_5")
        await everything.until(lambda live: len(live.balances) == 4, "all changes")
        await theirs.shows({("cus_41", "USD"): 2000, ("cus_42", "USD"): 2000})
        await narrower.shows({("cus_42", "USD"): 2000})
        assert outside.events == []


async def test_a_read_token_ends_its_stream_when_it_expires(tenant: Tenant) -> None:
    token = await read_token(tenant, expires_in_s=2)
    async with listening(tenant.bearing(""), token=token) as live:
        last = await live.ends(within_s=2 + SOON_S)
    assert (last.kind, last.data["type"]) == ("problem", "/problems/unauthorized")


async def test_an_api_key_is_not_taken_as_a_parameter(refused_tenant: Tenant) -> None:
    answer = await refused_tenant.freehold.ask(
        "GET",
        f"{refused_tenant.freehold.addresses.query}/v1/stream",
        params={"token": refused_tenant.api_key},
    )
    problem(answer, "unauthorized")


async def test_a_revoked_key_ends_its_streams_alone(tenant: Tenant) -> None:
    other = await tenant.limited_to("read")
    async with listening(tenant) as going_on, listening(other) as ending:
        await other.revoke()
        last = await ending.ends(within_s=SOON_S)
        assert (last.kind, last.data["type"]) == ("problem", "/problems/unauthorized")
        await tenant.append()
        await going_on.shows({("cus_42", "USD"): 2000})


async def test_an_expiring_key_ends_its_streams(freehold: Freehold, tenant: Tenant) -> None:
    expires_at = datetime.now(UTC) + timedelta(seconds=2)
    key = await freehold.operator.create_api_key(
        tenant.tenant_id, scopes=["read"], expires_at=expires_at
    )
    async with listening(tenant.bearing(key.api_key)) as live:
        last = await live.ends(within_s=2 + SOON_S)
    assert datetime.now(UTC) >= expires_at
    assert (last.kind, last.data["status"]) == ("problem", 401)


async def test_suspension_ends_streams(freehold: Freehold, tenant: Tenant) -> None:
    async with listening(tenant) as live:
        await freehold.operator.suspend_tenant(tenant.tenant_id)
        last = await live.ends(within_s=SOON_S)
        assert (last.kind, last.data["type"]) == ("problem", "/problems/tenant-suspended")


def changed_after(live: Live, last_id: str) -> set[tuple[str, str]]:
    """The balances whose last change came after the event with an id."""
    last = next((e.data["last_seq"] for e in live.events if e.event_id == last_id), 0)
    return {balance for balance, seq in live.seqs.items() if seq > last}
