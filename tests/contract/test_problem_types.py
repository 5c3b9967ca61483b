"""Problem types are promises: clients branch on them, so none is renamed or gets another status."""

import re
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi import FastAPI

from freehold.contracts.errors import DomainError, NotNow
from freehold.contracts.problems import FieldError, ProblemDocument
from freehold.http.application import Check, new_application
from freehold.http.catalogue import CATALOGUE, PROBLEM_TYPES, ProblemType, Retry
from freehold.http.problem_guide import guide
from freehold.http.problems import Problem

PUBLISHED = {
    "malformed-request": 400,
    "malformed-json": 400,
    "malformed-coding": 400,
    "idempotency-key-missing": 400,
    "idempotency-key-invalid": 400,
    "unauthorized": 401,
    "cross-origin-request": 403,
    "missing-scope": 403,
    "role-missing": 403,
    "reply-not-allowed": 403,
    "tenant-suspended": 403,
    "not-found": 404,
    "method-not-allowed": 405,
    "not-acceptable": 406,
    "request-timeout": 408,
    "duplicate-external-id": 409,
    "already-reversed": 409,
    "already-refunded": 409,
    "hold-not-pending": 409,
    "tenant-exists": 409,
    "tenant-deleted": 409,
    "api-key-ended": 409,
    "operator-exists": 409,
    "operator-revoked": 409,
    "body-too-large": 413,
    "uri-too-long": 414,
    "unsupported-media-type": 415,
    "validation-failed": 422,
    "idempotency-key-reused": 422,
    "not-reversible": 422,
    "refund-not-allowed": 422,
    "statement-too-long": 422,
    "insufficient-funds": 422,
    "too-many-requests": 429,
    "head-too-large": 431,
    "internal": 500,
    "not-implemented": 501,
    "clocks-disagree": 503,
    "overloaded": 503,
    "ledger-version-unsupported": 503,
    "unavailable": 503,
    "http-version-unsupported": 505,
}

TESTS = Path(__file__).parents[1]

# Where each type is produced by a request to a service: a file, and a test in it.
_NO_REQUEST = (
    "integration/http/test_http.py"
    "::test_an_invalid_request_is_answered_with_the_reason_and_ends_the_connection"
)
PRODUCED = {
    "malformed-request": _NO_REQUEST,
    "uri-too-long": _NO_REQUEST,
    "head-too-large": _NO_REQUEST,
    "not-implemented": _NO_REQUEST,
    "http-version-unsupported": _NO_REQUEST,
    "malformed-coding": (
        "integration/http/test_http.py::test_what_is_not_packed_as_it_says_is_refused"
    ),
    "malformed-json": "e2e/test_events.py::test_a_body_that_is_not_json_is_refused",
    "idempotency-key-missing": ("e2e/test_idempotency.py::test_a_request_without_a_key_is_refused"),
    "idempotency-key-invalid": (
        "e2e/test_idempotency.py::test_a_key_that_cannot_be_used_is_refused"
    ),
    "unauthorized": "e2e/test_api_keys.py::test_a_request_without_a_valid_key_is_refused",
    "cross-origin-request": "unit/console/test_pages.py::test_pages_of_other_origins_cannot_act",
    "missing-scope": "e2e/test_api_keys.py::test_each_scope_permits_its_own_routes_only",
    "role-missing": (
        "integration/tenant_manager/test_operators.py::test_each_role_may_do_what_it_is_for"
    ),
    "reply-not-allowed": (
        "e2e/test_amqp.py::"
        "test_a_message_that_asks_for_an_answer_into_the_queue_of_another_is_refused"
    ),
    "tenant-suspended": (
        "e2e/test_suspension.py::test_a_suspended_tenant_is_refused_by_every_service_until_resumed"
    ),
    "not-found": (
        "integration/query/test_balances.py"
        "::test_what_was_never_seen_and_what_cannot_exist_are_answered_alike"
    ),
    "method-not-allowed": (
        "e2e/test_events.py::test_what_is_not_there_is_answered_as_a_problem_too"
    ),
    "not-acceptable": (
        "integration/query/test_statements.py::test_a_form_that_is_not_there_is_not_acceptable"
    ),
    "request-timeout": "faults/test_import.py::test_a_silent_client_is_disconnected",
    "duplicate-external-id": ("e2e/test_batches.py::test_an_external_id_names_one_event_for_good"),
    "already-reversed": (
        "e2e/test_reversals.py::test_a_reversal_made_again_names_the_existing_one"
    ),
    "hold-not-pending": "e2e/test_holds.py::test_a_hold_is_settled_once",
    "tenant-exists": (
        "integration/tenant_manager/test_tenants.py::test_other_settings_are_refused"
    ),
    "tenant-deleted": "e2e/test_deletion.py::test_nothing_more_is_done_for_a_deleted_tenant",
    "api-key-ended": "e2e/test_api_keys.py::test_an_ended_key_cannot_be_rotated",
    "operator-exists": (
        "integration/tenant_manager/test_operators.py::test_the_settings_token_is_the_owner_root"
    ),
    "operator-revoked": (
        "integration/tenant_manager/test_operators.py"
        "::test_a_revoked_token_is_refused_by_every_process_at_once"
    ),
    "body-too-large": "e2e/test_events.py::test_a_body_over_the_limit_is_refused",
    "unsupported-media-type": (
        "e2e/test_import.py::test_a_body_of_another_kind_is_refused_before_it_is_read"
    ),
    "validation-failed": (
        "e2e/test_events.py::test_an_event_that_breaks_a_rule_is_refused_and_the_place_is_named"
    ),
    "idempotency-key-reused": (
        "e2e/test_idempotency.py::test_a_key_used_for_another_event_is_refused"
    ),
    "already-refunded": "e2e/test_refunds.py::test_an_event_is_either_refunded_or_reversed",
    "refund-not-allowed": "e2e/test_refunds.py::test_a_refund_that_does_not_fit_says_why",
    "not-reversible": "e2e/test_reversals.py::test_the_smallest_amount_has_no_opposite",
    "statement-too-long": (
        "integration/query/test_statements.py::test_a_pdf_of_too_many_lines_is_refused"
    ),
    "insufficient-funds": (
        "e2e/test_account_limits.py::test_an_account_is_not_taken_below_its_limit"
    ),
    "too-many-requests": ("e2e/test_limits.py::test_a_tenant_over_their_rate_gets_a_retry_time"),
    "internal": ("faults/test_unexpected_failures.py::test_a_failure_is_logged_without_secrets"),
    "clocks-disagree": (
        "faults/test_clocks.py::test_while_a_databases_clock_is_wrong_nothing_is_written_into_it"
    ),
    "overloaded": (
        "faults/test_overload.py::test_a_request_that_misses_its_deadline_is_refused_in_time"
    ),
    "ledger-version-unsupported": (
        "faults/test_ledger_versions.py::test_a_tenant_with_an_unsupported_ledger_version_delays_no_other"
    ),
    "unavailable": ("faults/test_catalog.py::test_known_tenants_work_without_the_catalog"),
}


def test_the_published_types_have_not_drifted() -> None:
    assert {kind.slug: kind.status for kind in PROBLEM_TYPES} == PUBLISHED
    assert len(PROBLEM_TYPES) == len(PUBLISHED)


@pytest.mark.parametrize("kind", PROBLEM_TYPES, ids=lambda kind: kind.slug)
def test_a_type_is_written_as_an_address_and_says_what_it_means(kind: ProblemType) -> None:
    assert re.fullmatch("[a-z]+(-[a-z]+)*", kind.slug)
    assert re.fullmatch("[A-Z].*[a-zA-Z]", kind.title)
    for text in (kind.cause, kind.remedy, kind.again):
        assert re.fullmatch(r"[A-Z].*\.", text), text


@pytest.mark.parametrize("kind", PROBLEM_TYPES, ids=lambda kind: kind.slug)
def test_a_type_says_that_its_request_may_be_sent_later_if_its_answers_do(
    kind: ProblemType,
) -> None:
    _, headers, body = Problem.of(kind.example)
    assert ("Retry-After" in headers) == (kind.retry is Retry.LATER)
    assert ProblemDocument.model_validate_json(body).type == kind.uri


def test_the_guide_has_not_drifted() -> None:
    committed = TESTS.parent / "services" / "guides" / "errors.md"
    assert committed.read_text(encoding="utf-8") == guide()


def test_every_error_has_a_type() -> None:
    assert {error for error in errors(DomainError) if hasattr(error, "slug")} == set(CATALOGUE)


@pytest.mark.parametrize("error", CATALOGUE, ids=lambda error: error.slug)
def test_every_422_says_what_is_wrong_and_where(error: type[DomainError]) -> None:
    whole = [FieldError(pointer="", detail="so it is")] if CATALOGUE[error].status == 422 else None
    options: list[dict[str, Any]] = [{}, {"errors": []}, {"errors": None}] if whole else [{}]
    for option in options:
        problem = Problem.of(error("so it is", **option))
        assert ProblemDocument.model_validate_json(problem.body).errors == whole


@pytest.mark.parametrize("error", CATALOGUE, ids=lambda error: error.slug)
def test_every_429_and_503_says_when_to_try_again(error: type[DomainError]) -> None:
    status, headers, _ = Problem.of(error("so it is"))
    assert ("Retry-After" in headers) == (status in {429, 503}) == issubclass(error, NotNow)


def test_every_type_is_produced_by_a_test() -> None:
    assert set(PRODUCED) == set(PUBLISHED)
    for slug, test in PRODUCED.items():
        file, _, name = test.partition("::")
        text = (TESTS / file).read_text(encoding="utf-8")
        assert f"def {name}(" in text, test
        assert f'"{slug}"' in text or (slug == "validation-failed" and "pointers(" in text), test


async def test_an_unexpected_failure_is_answered_too() -> None:
    app = broken_application()
    async with httpx.AsyncClient(
        transport=httpx.ASGITransport(app), base_url="http://service"
    ) as client:
        answer = await client.get("/broken", headers={"X-Request-Id": "mine"})
    assert answer.status_code == 500
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.headers["x-request-id"] == "mine"
    document = ProblemDocument.model_validate_json(answer.content)
    assert document.type == "/problems/internal"
    assert "secret" not in answer.text


def errors(base: type[DomainError]) -> Iterator[type[DomainError]]:
    for error in base.__subclasses__():
        yield error
        yield from errors(error)


def broken_application() -> FastAPI:
    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        yield

    async def readiness() -> dict[str, Check]:
        return {}

    app = new_application(
        title="Broken", description="Fails.", lifespan=lifespan, readiness=readiness
    )

    @app.get("/broken")
    async def broken() -> None:
        raise RuntimeError("a secret of the inside")

    return app
