"""Every parameter of every route refuses what it does not mean."""

import httpx
import pytest

ACCOUNT = "/v1/accounts/cus_42/balances"
CURRENCY = f"{ACCOUNT}/USD"
BALANCES = "/v1/balances"
EVENTS = "/v1/events"
ID = "019ca9a8-5a00-7000-8000-0007c0a8d5e1"
EVENT = f"/v1/events/{ID}"
TRANSACTION = f"/v1/transactions/{ID}"
HOLD = f"/v1/holds/{ID}"
LAG = "/v1/lag"

NOT_INTEGERS = ["", "x", "1.0", "1e3", "0x10", "1_000", "%201", "1%20", "%2B1", "--1", "null", "٣"]
NOT_CURRENCIES = ["", "usd", "US", "USDX", "ZZZ", "US%00", "%20USD", "840"]
NOT_CURSORS = ["", "x", "%00", "bnVsbA", "W10", "WyJhIl0", "e30", "€", "a" * 5000, "====", "."]


@pytest.mark.parametrize(
    ("path", "name", "values"),
    [
        (ACCOUNT, "consistency", ["", "weak", "STRONG", "strong%00", "eventual,strong"]),
        (CURRENCY, "consistency", ["", "weak", "STRONG"]),
        (BALANCES, "limit", [*NOT_INTEGERS, "0", "-1", "1001", "9" * 30]),
        (EVENTS, "limit", [*NOT_INTEGERS, "0", "-1", "1001", "9" * 30]),
        (BALANCES, "min", [*NOT_INTEGERS, "1" + "0" * 38, "-1" + "0" * 38, "9" * 5000]),
        (BALANCES, "max", [*NOT_INTEGERS, "1" + "0" * 38, "-1" + "0" * 38, "9" * 5000]),
        (BALANCES, "currency", NOT_CURRENCIES),
        (BALANCES, "account_prefix", ["a" * 256, "a%00", "%0A", "%7F", "%C2%85"]),
        (EVENTS, "account_id", ["", "-a", "a%20b", "a%00", "a%0A", "a" * 256, "€"]),
        (BALANCES, "cursor", NOT_CURSORS),
        (EVENTS, "cursor", NOT_CURSORS),
    ],
)
async def test_a_value_that_breaks_its_rule_is_refused(
    still_query: httpx.AsyncClient, path: str, name: str, values: list[str]
) -> None:
    for value in values:
        answer = await still_query.get(f"{path}?{name}={value}")
        assert answer.status_code == 422, value
        assert answer.headers["content-type"] == "application/problem+json"
        problem = answer.json()
        assert problem["type"] == "/problems/validation-failed"
        assert [error["pointer"] for error in problem["errors"]] == [f"/{name}"], value


@pytest.mark.parametrize(
    "path", [ACCOUNT, CURRENCY, BALANCES, EVENTS, EVENT, TRANSACTION, HOLD, LAG]
)
@pytest.mark.parametrize(
    "name", ["as_of", "known_at", "limits", "Limit", "consistency ", "", "least", "most", "a/b~c"]
)
async def test_an_unknown_parameter_is_refused(
    still_query: httpx.AsyncClient, path: str, name: str
) -> None:
    answer = await still_query.get(path, params={name: "2026-03-01T12:00:00Z"})
    assert answer.status_code == 422
    escaped = name.replace("~", "~0").replace("/", "~1")
    assert [error["pointer"] for error in answer.json()["errors"]] == [f"/{escaped}"]


@pytest.mark.parametrize(
    ("path", "query_string", "name"),
    [
        (ACCOUNT, "consistency=strong&consistency=strong", "consistency"),
        (BALANCES, "limit=1&limit=2", "limit"),
        (BALANCES, "currency=USD&currency=EUR", "currency"),
        (EVENTS, "account_id=a&limit=1&account_id=b", "account_id"),
        (LAG, "x=1&x=2", "x"),
    ],
)
async def test_a_parameter_given_twice_is_refused(
    still_query: httpx.AsyncClient, path: str, query_string: str, name: str
) -> None:
    answer = await still_query.get(f"{path}?{query_string}")
    assert answer.status_code == 422
    assert answer.json()["errors"] == [{"pointer": f"/{name}", "detail": "given more than once"}]


async def test_every_broken_rule_is_named(still_query: httpx.AsyncClient) -> None:
    answer = await still_query.get(f"{BALANCES}?limit=0&currency=usd&min=x&as_of=now")
    pointers = {error["pointer"] for error in answer.json()["errors"]}
    assert pointers == {"/limit", "/currency", "/min", "/as_of"}


async def test_so_many_parameters_are_not_read(still_query: httpx.AsyncClient) -> None:
    for given, faults in ((100, 100), (101, 1), (5_000, 1)):
        query_string = "&".join([f"p{number}=" for number in range(given)])
        answer = await still_query.get(f"{LAG}?{query_string}")
        assert answer.status_code == 422
        assert len(answer.json()["errors"]) == faults


async def test_bounds_that_nothing_can_meet_are_refused(still_query: httpx.AsyncClient) -> None:
    assert (await still_query.get(f"{BALANCES}?min=2&max=1")).status_code == 422
    assert (await still_query.get(f"{BALANCES}?min=2&max=2")).status_code == 200


@pytest.mark.parametrize(
    "query_string",
    ["limit=1", "limit=1000", "limit=007", "min=-0", "account_prefix=" + "a" * 255, "currency=XXX"],
)
async def test_the_edges_of_the_rules_are_allowed(
    still_query: httpx.AsyncClient, query_string: str
) -> None:
    assert (await still_query.get(f"{BALANCES}?{query_string}")).status_code == 200


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE"])
@pytest.mark.parametrize("path", [ACCOUNT, BALANCES, EVENTS, EVENT, LAG])
async def test_nothing_can_be_written(
    still_query: httpx.AsyncClient, method: str, path: str
) -> None:
    answer = await still_query.request(method, path)
    assert answer.status_code == 405
    assert answer.json()["type"] == "/problems/method-not-allowed"
    assert "GET" in answer.headers["allow"]
