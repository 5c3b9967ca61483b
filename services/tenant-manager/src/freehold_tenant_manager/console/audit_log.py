"""The page of the audit log: what operators did, its proof, and its export."""

from typing import Annotated
from urllib.parse import urlencode

from fastapi import APIRouter, Request, Response

from freehold.http.parameters import PageQuery
from freehold_tenant_manager.console.fields import SearchQuery, UtcField
from freehold_tenant_manager.console.pages import PAGES, show
from freehold_tenant_manager.console.route import ConsoleRoute
from freehold_tenant_manager.contracts.names import ActName, ShownOperatorName, TenantId
from freehold_tenant_manager.http.components import component
from freehold_tenant_manager.http.dependencies import NO_QUERY, TheCatalog
from freehold_tenant_manager.http.pages import read_filtered_page
from freehold_tenant_manager.operators.act_routes import SEQ, exported
from freehold_tenant_manager.operators.act_store import list_acts
from freehold_tenant_manager.operators.act_verifier import ActVerifier

router = APIRouter(route_class=ConsoleRoute)
_PATH = "/console/audit-log"
LOG_EXPORT_PATH = f"{_PATH}/export"


class _Query(SearchQuery, PageQuery):
    operator: ShownOperatorName | None = None
    tenant_id: TenantId | None = None
    act: ActName | None = None
    since: UtcField | None = None
    until: UtcField | None = None

    def given(self) -> dict[str, str]:
        """Give what filters, as a query has it."""
        return self.model_dump(mode="json", exclude_none=True, exclude={"limit", "cursor"})


@router.get("/audit-log", name="audit_log")
async def audit_log(request: Request, catalog: TheCatalog) -> Response:
    """List entries of the log, the newest first."""
    page = read_filtered_page(_Query, request, SEQ, "console-audit-log")
    query = page.query
    async with catalog.connection() as connection:
        acts = await list_acts(
            connection,
            operator=query.operator,
            tenant_id=query.tenant_id,
            act=query.act,
            recorded_from=query.since,
            recorded_before=query.until,
            before_seq=None if page.after is None else int(page.after),
            rows_max=page.rows_max,
        )
    shown, cursor = page.cut(acts, lambda act: str(act.seq))
    filters = query.given()
    return show(
        request,
        "audit_log.html",
        query=query,
        entries=shown,
        first_address=page.after and f"{_PATH}?{urlencode(filters)}",
        next_address=cursor and f"{_PATH}?{urlencode({**filters, 'cursor': cursor})}",
    )


@router.get("/audit-log/verification", name="verify_operator_acts", dependencies=NO_QUERY)
async def verification(
    request: Request, verifier: Annotated[ActVerifier, component(ActVerifier)]
) -> Response:
    """Verify the log, and show what was found."""
    return PAGES.answer(request, "_log_verification.html", found=await verifier.verify())


@router.get("/audit-log/export", name="export_operator_acts", dependencies=NO_QUERY)
async def export(catalog: TheCatalog) -> Response:
    """Download the log."""
    return exported(catalog)
