"""Problem types are promises: clients branch on them, so none is renamed or gets another status."""

import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi import FastAPI

from freehold.contracts.problems import (
    PROBLEM_TYPES,
    FieldError,
    Problem,
    ProblemDocument,
    ProblemType,
)
from freehold.service.application import new_application

PUBLISHED = {
    "malformed-json": 400,
    "idempotency-key-missing": 400,
    "idempotency-key-invalid": 400,
    "unauthorized": 401,
    "missing-scope": 403,
    "tenant-suspended": 403,
    "not-found": 404,
    "method-not-allowed": 405,
    "request-timeout": 408,
    "duplicate-external-id": 409,
    "already-reversed": 409,
    "hold-not-pending": 409,
    "tenant-exists": 409,
    "tenant-deleted": 409,
    "api-key-ended": 409,
    "body-too-large": 413,
    "unsupported-media-type": 415,
    "validation-failed": 422,
    "idempotency-key-reused": 422,
    "not-reversible": 422,
    "insufficient-funds": 422,
    "too-many-requests": 429,
    "internal": 500,
    "overloaded": 503,
    "ledger-version-unsupported": 503,
    "unavailable": 503,
}

TESTS = Path(__file__).parents[1]

# Where each type is produced by a request to a service: a file, and a test in it.
PRODUCED = {
    "malformed-json": "e2e/test_events.py::test_a_body_that_is_not_json_is_told_so",
    "idempotency-key-missing": ("e2e/test_idempotency.py::test_a_request_without_a_key_is_refused"),
    "idempotency-key-invalid": (
        "e2e/test_idempotency.py::test_a_key_that_cannot_be_used_is_refused"
    ),
    "unauthorized": "e2e/test_api_keys.py::test_without_a_valid_key_nobody_is_let_in",
    "missing-scope": "e2e/test_api_keys.py::test_each_scope_opens_its_own_doors_only",
    "tenant-suspended": (
        "e2e/test_suspension.py::test_a_suspended_tenant_is_refused_by_every_service_until_resumed"
    ),
    "not-found": "e2e/test_balances.py::test_what_was_never_seen_is_not_found",
    "method-not-allowed": (
        "e2e/test_events.py::test_what_is_not_there_is_answered_as_a_problem_too"
    ),
    "request-timeout": "faults/test_import.py::test_a_client_that_falls_silent_is_not_waited_for",
    "duplicate-external-id": ("e2e/test_batches.py::test_an_external_id_names_one_event_for_good"),
    "already-reversed": (
        "e2e/test_reversals.py::test_a_reversal_made_again_names_the_existing_one"
    ),
    "hold-not-pending": "e2e/test_holds.py::test_a_hold_is_settled_once",
    "tenant-exists": (
        "e2e/test_provisioning.py::test_an_existing_tenant_with_other_settings_is_a_conflict"
    ),
    "tenant-deleted": "e2e/test_deletion.py::test_nothing_more_is_done_for_a_deleted_tenant",
    "api-key-ended": "e2e/test_api_keys.py::test_a_key_that_works_no_more_is_not_replaced",
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
    "not-reversible": "e2e/test_reversals.py::test_the_smallest_amount_has_no_opposite",
    "insufficient-funds": (
        "e2e/test_account_limits.py::test_an_account_is_not_taken_below_its_limit"
    ),
    "too-many-requests": (
        "e2e/test_limits.py::test_a_tenant_over_their_rate_is_told_when_to_come_again"
    ),
    "internal": (
        "faults/test_unforeseen_failures.py::test_a_failure_is_told_in_the_log_and_keeps_secrets"
    ),
    "overloaded": (
        "faults/test_overload.py::test_what_cannot_be_done_in_time_is_refused_within_it"
    ),
    "ledger-version-unsupported": (
        "faults/test_ledger_versions.py::test_a_tenant_with_another_ledger_waits_and_nobody_else_does"
    ),
    "unavailable": ("faults/test_catalog.py::test_known_tenants_go_on_working_without_the_catalog"),
}


def test_the_published_types_have_not_drifted() -> None:
    assert {kind.slug: kind.status for kind in PROBLEM_TYPES} == PUBLISHED
    assert len(PROBLEM_TYPES) == len(PUBLISHED)


@pytest.mark.parametrize("kind", PROBLEM_TYPES, ids=lambda kind: kind.slug)
def test_a_type_is_written_as_an_address_and_says_what_it_means(kind: object) -> None:
    assert isinstance(kind, tuple)
    slug, _, title = kind
    assert re.fullmatch("[a-z]+(-[a-z]+)*", slug)
    assert re.fullmatch("[A-Z].*[a-zA-Z]", title)


@pytest.mark.parametrize("kind", PROBLEM_TYPES, ids=lambda kind: kind.slug)
@pytest.mark.parametrize("members", [{}, {"errors": []}, {"errors": None}], ids=str)
def test_every_422_says_what_is_wrong_and_where(kind: ProblemType, members: dict[str, Any]) -> None:
    document = ProblemDocument.model_validate_json(Problem(kind, "so it is", **members).body())
    whole = [FieldError(pointer="", detail="so it is")]
    assert (document.errors or None) == (whole if kind.status == 422 else None)


def test_every_type_is_produced_by_a_test() -> None:
    assert set(PRODUCED) == set(PUBLISHED)
    for slug, place in PRODUCED.items():
        file, _, name = place.partition("::")
        text = (TESTS / file).read_text(encoding="utf-8")
        assert f"def {name}(" in text, place
        assert f'"{slug}"' in text or (slug == "validation-failed" and "pointers(" in text), place


async def test_a_failure_nobody_foresaw_is_answered_too() -> None:
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


def broken_application() -> FastAPI:
    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        yield

    async def readiness() -> dict[str, bool]:
        return {}

    app = new_application(
        title="Broken", description="Fails.", lifespan=lifespan, readiness=readiness
    )

    @app.get("/broken")
    async def broken() -> None:
        raise RuntimeError("a secret of the inside")

    return app
