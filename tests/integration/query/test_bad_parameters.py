"""Every parameter of every route refuses what it does not mean."""

import httpx
import pytest

from support.answers import pointers, problem

ACCOUNT = "/v1/accounts/cus_42/balances"
CURRENCY = f"{ACCOUNT}/USD"
BALANCES = "/v1/balances"
TOTALS = "/v1/totals"
EVENTS = "/v1/events"
ID = "019ca9a8-5a00-7000-8000-0007c0a8d5e1"
EVENT = f"/v1/events/{ID}"
TRANSACTION = f"/v1/transactions/{ID}"
HOLD = f"/v1/holds/{ID}"
HOLDS = "/v1/holds"
LAG = "/v1/lag"
VERIFY = "/v1/audit/verify"
AUDIT_EVENTS = "/v1/audit/events"
JOURNAL = "/v1/export/journal"
TIMED = [ACCOUNT, CURRENCY, BALANCES, TOTALS]
ACTIVITY = "/v1/activity"
SEARCHABLE = "/v1/searchable-metadata"

NOT_INTEGERS = ["", "x", "1.0", "1e3", "0x10", "1_000", "%201", "1%20", "%2B1", "--1", "null", "٣"]
NOT_CURRENCIES = ["", "usd", "US", "USDX", "ZZZ", "US%00", "%20USD", "840"]
NOT_TIMES = [
    "",
    "2026-03-01",
    "2026-03-01T12:00:00",
    "2026-03-01T12:00:00%2B25:00",
    "2026-02-30T12:00:00Z",
    "0001-01-01T00:00:00%2B14:00",
    "now",
    "1772366400",
]
NOT_TIME_ZONES = [
    "",
    "Berlin",
    "europe/berlin",
    "%2B01:00",
    "posix/Europe/Berlin",
    "right/UTC",
    "../UTC",
    "Europe",
    "localtime",
    "UTC%00",
]
NOT_CURSORS = ["", "x", "%00", "bnVsbA", "W10", "WyJhIl0", "e30", "€", "a" * 5000, "====", "."]


@pytest.mark.parametrize(
    ("path", "name", "values"),
    [
        (ACCOUNT, "consistency", ["", "weak", "STRONG", "strong%00", "eventual,strong"]),
        (CURRENCY, "consistency", ["", "weak", "STRONG"]),
        *((path, name, NOT_TIMES) for path in TIMED for name in ("as_of", "known_at")),
        (BALANCES, "limit", [*NOT_INTEGERS, "0", "-1", "1001", "9" * 30]),
        (EVENTS, "limit", [*NOT_INTEGERS, "0", "-1", "1001", "9" * 30]),
        (BALANCES, "min", [*NOT_INTEGERS, "1" + "0" * 38, "-1" + "0" * 38, "9" * 5000]),
        (BALANCES, "max", [*NOT_INTEGERS, "1" + "0" * 38, "-1" + "0" * 38, "9" * 5000]),
        (BALANCES, "currency", NOT_CURRENCIES),
        (BALANCES, "account_prefix", ["a" * 256, "a%00", "%0A", "%7F", "%C2%85"]),
        (TOTALS, "currency", NOT_CURRENCIES),
        (TOTALS, "account_prefix", ["a" * 256, "a%00", "%0A", "%7F", "%C2%85"]),
        (EVENTS, "account_id", ["", "-a", "a%20b", "a%00", "a%0A", "a" * 256, "€"]),
        (EVENTS, "order", ["", "ASC", "descending"]),
        (EVENTS, "external_id", ["", "a%00", "a" * 256]),
        (EVENTS, "transaction_id", ["", "x", f"{{{ID}}}", ID.replace("-", "")]),
        (EVENTS, "event_type", ["", "charge", "A%20B", "A" * 51]),
        (EVENTS, "currency", NOT_CURRENCIES),
        (EVENTS, "from", NOT_TIMES),
        (EVENTS, "to", NOT_TIMES),
        (EVENTS, "metadata.order_id", ["a%00", "a" * 501]),
        (EVENTS, "metadata.undeclared", ["o1"]),
        (EVENTS, "metadata.", ["o1"]),
        (EVENTS, "metadata", ["o1"]),
        (ACTIVITY, "bucket", ["", "week", "HOUR", "15 minutes"]),
        (ACTIVITY, "time_zone", NOT_TIME_ZONES),
        (ACTIVITY, "event_type", ["", "charge"]),
        (ACTIVITY, "account_id", ["", "-a"]),
        (ACTIVITY, "currency", NOT_CURRENCIES),
        (ACTIVITY, "from", NOT_TIMES),
        (ACTIVITY, "to", NOT_TIMES),
        (ACTIVITY, "limit", ["0", "1001"]),
        (HOLDS, "account_id", ["", "-a"]),
        (HOLDS, "status", ["", "captured", "PENDING"]),
        (HOLDS, "cursor", NOT_CURSORS),
        (VERIFY, "from_seq", [*NOT_INTEGERS, "0", "-1", "2", "9" * 30]),
        (VERIFY, "to_seq", [*NOT_INTEGERS, "0", "-1", "1", "9" * 30]),
        (AUDIT_EVENTS, "from_seq", [*NOT_INTEGERS, "0", "2"]),
        (AUDIT_EVENTS, "to_seq", [*NOT_INTEGERS, "0", "1"]),
        (JOURNAL, "format", ["", "xero", "CSV"]),
        (JOURNAL, "from", NOT_TIMES),
        (BALANCES, "cursor", NOT_CURSORS),
        (EVENTS, "cursor", NOT_CURSORS),
        (ACTIVITY, "cursor", NOT_CURSORS),
    ],
)
async def test_a_value_that_breaks_its_rule_is_refused(
    still_query: httpx.AsyncClient, path: str, name: str, values: list[str]
) -> None:
    # Some have a parameter that must be given.
    needed = {ACTIVITY: "bucket=day", JOURNAL: "format=csv"}.get(path, "")
    others = "" if needed.startswith(name) else f"{needed}&"
    for value in values:
        answer = await still_query.get(f"{path}?{others}{name}={value}")
        assert pointers(answer) == [f"/{name}"], value


@pytest.mark.parametrize(
    "path", [*TIMED, EVENTS, EVENT, TRANSACTION, HOLD, HOLDS, LAG, SEARCHABLE, VERIFY]
)
@pytest.mark.parametrize(
    "name", ["asof", "since", "limits", "Limit", "consistency ", "", "least", "most", "a/b~c"]
)
async def test_an_unknown_parameter_is_refused(
    still_query: httpx.AsyncClient, path: str, name: str
) -> None:
    answer = await still_query.get(path, params={name: "2026-03-01T12:00:00Z"})
    escaped = name.replace("~", "~0").replace("/", "~1")
    assert pointers(answer) == [f"/{escaped}"]


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
    assert answer.json()["errors"] == [
        {"pointer": f"/{name}", "detail": f"{name} is given more than once"}
    ]


async def test_every_broken_rule_is_named(still_query: httpx.AsyncClient) -> None:
    answer = await still_query.get(f"{BALANCES}?limit=0&currency=usd&min=x&as_of=now")
    assert sorted(pointers(answer)) == ["/as_of", "/currency", "/limit", "/min"]


async def test_more_than_100_parameters_are_not_read(still_query: httpx.AsyncClient) -> None:
    for given, faults in ((100, 100), (101, 1), (5_000, 1)):
        query_string = "&".join([f"p{number}=" for number in range(given)])
        answer = await still_query.get(f"{LAG}?{query_string}")
        assert answer.status_code == 422
        assert len(answer.json()["errors"]) == faults


async def test_activity_without_a_bucket_is_refused(still_query: httpx.AsyncClient) -> None:
    answer = await still_query.get(ACTIVITY)
    assert pointers(answer) == ["/bucket"]


@pytest.mark.parametrize("path", [f"{EVENTS}?", f"{ACTIVITY}?bucket=day&"])
async def test_times_that_nothing_can_meet_are_refused(
    still_query: httpx.AsyncClient, path: str
) -> None:
    after, before = "2026-03-01T12:00:00Z", "2026-03-01T12:59:59%2B01:00"
    assert (await still_query.get(f"{path}from={after}&to={before}")).status_code == 422
    assert (await still_query.get(f"{path}from={after}&to={after}")).json()["data"] == []


async def test_bounds_that_nothing_can_meet_are_refused(still_query: httpx.AsyncClient) -> None:
    answer = await still_query.get(f"{BALANCES}?min=2&max=1")
    assert pointers(answer) == [""]
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
@pytest.mark.parametrize("path", [ACCOUNT, BALANCES, EVENTS, EVENT, LAG, ACTIVITY])
async def test_nothing_can_be_written(
    still_query: httpx.AsyncClient, method: str, path: str
) -> None:
    answer = await still_query.request(method, path)
    problem(answer, "method-not-allowed")
    assert "GET" in answer.headers["allow"]
