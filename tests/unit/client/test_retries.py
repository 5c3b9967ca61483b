"""What is sent again, when, and as what."""

from collections.abc import Callable
from typing import Any

import httpx
import pytest

from freehold.contracts.events import LEDGER_EVENT_EXAMPLE
from freehold_client import (
    FreeholdError,
    NoAnswerError,
    TooManyRequests,
    Unavailable,
    ValidationFailed,
)
from support.scripted_client import Script, document, given, problem

EVENT = {"account_id": "cus_42", "event_type": "CHARGE", "amount_minor": 2000, "currency": "USD"}
ACCEPTED = document(LEDGER_EVENT_EXAMPLE, 201)
BUSY = problem("unavailable", 503)
NewClient = Callable[[Script], Any]


def keys(script: Script) -> list[str]:
    return [request.headers["idempotency-key"] for request in script.asked]


async def test_all_tries_of_a_call_have_one_key(new_client: NewClient) -> None:
    cut = httpx.RemoteProtocolError("cut")
    script = Script([BUSY, httpx.ConnectError("refused"), cut, ACCEPTED])

    event = await given(new_client(script).append_event(**EVENT))

    assert event.amount_minor == 2000
    assert len(script.asked) == 4
    assert len(set(keys(script))) == 1
    assert {request.content for request in script.asked} == {script.asked[0].content}


async def test_each_call_has_a_key_of_its_own(new_client: NewClient) -> None:
    script = Script([ACCEPTED])
    client = new_client(script)

    await given(client.append_event(**EVENT))
    await given(client.append_event(**EVENT))

    first, second = keys(script)
    assert first != second


async def test_the_callers_key_is_taken(new_client: NewClient) -> None:
    script = Script([BUSY, ACCEPTED])

    await given(new_client(script).append_event(**EVENT, idempotency_key="evt_1"))

    assert keys(script) == ["evt_1", "evt_1"]


@pytest.mark.parametrize("status", [408, 429, 502, 503, 504])
async def test_a_busy_service_is_asked_again(new_client: NewClient, status: int) -> None:
    script = Script(
        [
            httpx.Response(status),
            document({"head_seq": 9, "projected_seq": 9, "events_behind": 0, "seconds_behind": 0}),
        ]
    )

    assert (await given(new_client(script).get_lag())).head_seq == 9


@pytest.mark.parametrize("status", [400, 401, 403, 404, 409, 422, 500, 501])
async def test_other_answers_are_final(new_client: NewClient, status: int) -> None:
    script = Script([problem("some-problem", status)])

    with pytest.raises(FreeholdError):
        await given(new_client(script).get_lag())

    assert len(script.asked) == 1


@pytest.mark.parametrize("answer", [BUSY, httpx.ReadTimeout("late"), httpx.ConnectError("refused")])
async def test_a_post_without_a_key_is_sent_once(
    new_client: NewClient, answer: httpx.Response | Exception
) -> None:
    script = Script([answer])

    with pytest.raises((Unavailable, NoAnswerError)):
        await given(new_client(script).create_tenant(tenant_id="acme", name="Acme Ltd"))

    assert len(script.asked) == 1
    assert script.pauses == []


async def test_puts_and_deletes_are_sent_again(new_client: NewClient) -> None:
    script = Script([BUSY, document({"closed": True}), BUSY, httpx.Response(204)])
    client = new_client(script)

    assert (await given(client.close_event_types(closed=True))).closed
    assert await given(client.revoke_api_key("acme", "key-1")) is None
    assert [request.method for request in script.asked] == ["PUT", "PUT", "DELETE", "DELETE"]


async def test_no_try_comes_before_the_time_that_the_answer_names(new_client: NewClient) -> None:
    asking = problem("too-many-requests", 429, {"Retry-After": "7"})
    script = Script([asking, ACCEPTED])

    await given(new_client(script).append_event(**EVENT))

    (pause,) = script.pauses
    assert 7 < pause < 8


async def test_pauses_grow_and_end(new_client: NewClient) -> None:
    script = Script([BUSY])

    with pytest.raises(Unavailable):
        await given(new_client(script).append_event(**EVENT))

    assert script.pauses[0] <= 0.25
    assert max(script.pauses) > 4
    assert 50 < sum(script.pauses) <= 60
    assert len(script.asked) == len(script.pauses) + 1


async def test_a_pause_that_would_be_too_long_is_not_waited(new_client: NewClient) -> None:
    script = Script([problem("too-many-requests", 429, {"Retry-After": "61"})])

    with pytest.raises(TooManyRequests) as caught:
        await given(new_client(script).append_event(**EVENT))

    assert caught.value.retry_after_s == 61
    assert script.pauses == []


async def test_a_bad_argument_is_no_outage(new_client: NewClient) -> None:
    script = Script([httpx.LocalProtocolError("a header that HTTP does not allow")])

    with pytest.raises(NoAnswerError, match="does not allow"):
        await given(new_client(script).append_event(**EVENT))

    assert len(script.asked) == 1


async def test_the_last_problem_is_raised(new_client: NewClient) -> None:
    script = Script(
        [BUSY, problem("validation-failed", 422, errors=[{"pointer": "/a", "detail": "b"}])]
    )

    with pytest.raises(ValidationFailed):
        await given(new_client(script).append_event(**EVENT))
