"""The routes that show, export and verify the audit log."""

import json
import re
from datetime import UTC, datetime
from typing import Annotated

from fastapi import APIRouter, Request, Response
from fastapi.responses import StreamingResponse
from pydantic import Field

from freehold.contracts.fields import PointInTime
from freehold.contracts.imports import NDJSON
from freehold.http.parameters import PageQuery, documented_query
from freehold.http.response_headers import documented_headers
from freehold.tenants.catalog import Catalog
from freehold_tenant_manager.contracts.names import ActName, ShownOperatorName, TenantId
from freehold_tenant_manager.contracts.operator_acts import (
    ACT_EXAMPLE,
    OperatorActPage,
    OperatorActsVerification,
)
from freehold_tenant_manager.http.components import component
from freehold_tenant_manager.http.dependencies import NO_QUERY, TheCatalog, answer
from freehold_tenant_manager.http.pages import read_filtered_page
from freehold_tenant_manager.operators.act_store import exported_acts, list_acts
from freehold_tenant_manager.operators.act_verifier import ActVerifier
from freehold_tenant_manager.operators.route import OperatorRoute

EXPORT_PATH = "/v1/operator-acts/export"

router = APIRouter(route_class=OperatorRoute, tags=["operators"])
_LINE_EXAMPLE = f"{json.dumps(ACT_EXAMPLE)}\n"
SEQ = re.compile("[0-9]{1,19}")
_TheVerifier = Annotated[ActVerifier, component(ActVerifier)]


class _Query(PageQuery):
    operator: ShownOperatorName | None = Field(default=None, description="Only this one's.")
    tenant_id: TenantId | None = Field(default=None, description="Only about this tenant.")
    act: ActName | None = Field(default=None, description="Only of this operation id.")
    recorded_from: PointInTime | None = Field(
        default=None, alias="from", description="Only entries of this time or later."
    )
    recorded_before: PointInTime | None = Field(
        default=None, alias="to", description="Only entries before this time."
    )


@router.get(
    "/operator-acts",
    operation_id="list_operator_acts",
    summary="List what operators did, the newest entries first.",
    responses={200: {"model": OperatorActPage}},
    openapi_extra={"parameters": documented_query(_Query)},
)
async def get_acts(request: Request, catalog: TheCatalog) -> Response:
    """List entries of the audit log."""
    page = read_filtered_page(_Query, request, SEQ, "operator-acts")
    query = page.query
    async with catalog.connection() as connection:
        acts = await list_acts(
            connection,
            operator=query.operator,
            tenant_id=query.tenant_id,
            act=query.act,
            recorded_from=query.recorded_from,
            recorded_before=query.recorded_before,
            before_seq=None if page.after is None else int(page.after),
            rows_max=page.rows_max,
        )
    shown, next_cursor = page.cut(acts, lambda act: str(act.seq))
    return answer(OperatorActPage(data=list(shown), next_cursor=next_cursor))


@router.get(
    "/operator-acts/export",
    operation_id="export_operator_acts",
    response_class=Response,
    summary="Download the whole audit log, an entry a line, with all that its proof needs.",
    responses={
        200: {
            "description": "The entries as they are hashed, the oldest first. One that is not whole"
            " ends with a broken connection.",
            **documented_headers("Content-Disposition"),
            "content": {
                NDJSON: {
                    "schema": {"type": "string", "format": "binary", "examples": [_LINE_EXAMPLE]}
                }
            },
        }
    },
    dependencies=NO_QUERY,
)
async def get_export(catalog: TheCatalog) -> Response:
    """Export the audit log."""
    return exported(catalog)


@router.get(
    "/operator-acts/verify",
    operation_id="verify_operator_acts",
    summary="Recompute the audit log's hash chain, and compare it with the head outside.",
    responses={200: {"model": OperatorActsVerification}},
    dependencies=NO_QUERY,
)
async def get_verification(verifier: _TheVerifier) -> Response:
    """Verify the audit log."""
    return answer(await verifier.verify())


def exported(catalog: Catalog) -> Response:
    """Answer with the audit log as a file."""
    name = f"operator-acts-{datetime.now(UTC):%Y%m%dT%H%M%SZ}.ndjson"
    headers = {
        "Content-Disposition": f'attachment; filename="{name}"',
        "Cache-Control": "no-store",
        "X-Accel-Buffering": "no",
    }
    return StreamingResponse(exported_acts(catalog), media_type=NDJSON, headers=headers)
