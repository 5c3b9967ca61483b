"""What each OpenAPI document says of requests, good and bad ones, holds for the answers.

Schemathesis makes the requests: of each operation by itself, and of operations that follow each
other, where the answer to one names what the next one takes.
"""

import json
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from schemathesis import Case, CheckContext, GenerationMode, Response
from schemathesis.checks import not_a_server_error
from schemathesis.core.result import Ok
from schemathesis.schemas import BaseSchema
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from freehold.contracts.problems import PROBLEM_MEDIA_TYPE
from support.answers import check_problem_document
from support.clients import Freehold, Tenant, event_body
from support.waiting import PATIENCE_S


def problems_are_as_published(_: CheckContext, answer: Response, __: Case[Any]) -> None:
    """Hold a problem document to its type, and its texts to words for people."""
    if answer.headers.get("content-type") == [PROBLEM_MEDIA_TYPE]:
        check_problem_document(answer.json())


CHECKS = [
    problems_are_as_published,
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_schema_conformance,
]
# A stream has no end.
ENDLESS = "/v1/stream"
# They name what other tests have made: a random request must not suspend their tenants.
OF_ALL_TENANTS = ["/v1/tenants", "/v1/operations"]
# Few requests for each of many operations: less than a minute in all. A thorough run makes ten
# times as many.
FEW = settings(
    max_examples=settings().max_examples // 5,
    stateful_step_count=10,
    deadline=None,
    database=None,
    suppress_health_check=list(HealthCheck),
)

# The lines of an import: events, most of which are good ones, and what is none.
LINES = st.lists(
    st.builds(event_body, external_id=st.text(max_size=9), amount_minor=st.integers(-9, 9)).map(
        lambda event: json.dumps(event).encode()
    )
    | st.binary(max_size=40),
    max_size=5,
)
schemathesis.openapi.media_type("application/x-ndjson", LINES.map(b"\n".join))


class Service:
    """A service's document, and how it is asked."""

    def __init__(self, url: str, token: str) -> None:
        self.document: BaseSchema = schemathesis.openapi.from_url(f"{url}/openapi.json").exclude(
            path=ENDLESS
        )
        self.asking: dict[str, Any] = {
            "headers": {"Authorization": f"Bearer {token}"},
            "timeout": PATIENCE_S,
        }


@pytest.fixture(scope="module")
async def own_tenant(freehold: Freehold) -> Tenant:
    return await freehold.new_tenant()


@pytest.fixture
def ingest(freehold: Freehold, own_tenant: Tenant) -> Service:
    return Service(freehold.addresses.ingest, own_tenant.api_key)


@pytest.fixture
def query(freehold: Freehold, own_tenant: Tenant) -> Service:
    return Service(freehold.addresses.query, own_tenant.api_key)


@pytest.fixture
def tenant_manager(freehold: Freehold) -> Service:
    return Service(freehold.addresses.tenant_manager, freehold.addresses.operator_token)


@pytest.fixture
def projector(freehold: Freehold) -> Service:
    url = freehold.addresses.projector
    if url is None:
        pytest.skip("the environment does not say where projector is")
    return Service(url, "")


@pytest.fixture
def service(request: pytest.FixtureRequest) -> Service:
    """The service that a test is parametrized with."""
    found: Service = request.getfixturevalue(request.param)
    return found


@pytest.mark.parametrize(
    "service", ["ingest", "query", "tenant_manager", "projector"], indirect=True
)
def test_each_operation_answers_as_documented(service: Service) -> None:
    for operation in service.document.get_all_operations():
        assert isinstance(operation, Ok)
        good, bad = (operation.ok().as_strategy(generation_mode=mode) for mode in GenerationMode)

        @FEW
        @given(good | bad)
        def ask(case: Case[Any]) -> None:
            answer = case.call(**service.asking)
            case.validate_response(answer, checks=CHECKS)

        ask()


@pytest.mark.parametrize("service", ["ingest", "query", "tenant_manager"], indirect=True)
def test_operations_that_follow_each_other_answer_as_documented(service: Service) -> None:
    machine: Any = service.document.exclude(path=OF_ALL_TENANTS, method="GET").as_state_machine()

    class Machine(machine):  # type: ignore[misc] # It is made of the document.
        def get_call_kwargs(self, _: Case[Any]) -> dict[str, Any]:
            return service.asking

        def validate_response(self, response: Any, case: Case[Any], **_: Any) -> None:
            case.validate_response(response, checks=CHECKS)

    Machine.run(settings=FEW)
