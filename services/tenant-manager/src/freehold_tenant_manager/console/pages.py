"""What the operators' pages have in common: how they are rendered, kept live, and left."""

from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import blake2s
from typing import Any
from urllib.parse import urlencode

from fastapi import Request, Response
from fastapi.responses import RedirectResponse
from markupsafe import Markup

from freehold.console.pages import Pages, Section, is_fragment
from freehold.http.parameters import NoQuery
from freehold_tenant_manager.contracts.operators import Role
from freehold_tenant_manager.http.dependencies import SECRET
from freehold_tenant_manager.operators.authority import Operator

HOME = "/console/tenants"
_SECTIONS = (
    Section("Tenants", HOME),
    Section("Operations", "/console/operations"),
    Section("Migrations", "/console/migrations"),
    Section("Doorbells", "/console/doorbells"),
    Section("Operators", "/console/operators"),
    Section("Audit log", "/console/audit-log"),
)
PAGES = Pages("freehold_tenant_manager.console", title="Freehold operators", sections=_SECTIONS)


class LiveQuery(NoQuery):
    """What a part of a page asks itself by."""

    seen: str | None = None
    """The digest of what it shows."""


@dataclass(frozen=True, slots=True)
class Part:
    """A part of a page that asks for itself again and again."""

    digest: str
    markup: Markup

    def answer(self, request: Request, query: LiveQuery) -> Response:
        """Answer with the part; without a body where the page shows it already."""
        if query.seen == self.digest:
            return Response(status_code=204)
        return PAGES.answer(request, "_part.html", markup=self.markup)


def live(
    request: Request,
    template: str,
    path: str,
    *,
    trigger: str,
    tag: str = "div",
    query: dict[str, str] | None = None,
    **context: Any,
) -> Part:
    """Render a part of a page.

    Args:
        request: The request, of the page or of the part.
        template: The template of what is in the part.
        path: Where the part asks for itself.
        trigger: When it asks again, in the words of htmx; empty for never.
        tag: The element that holds it.
        query: What it asks with.
        context: What the template shows.
    """
    content = PAGES.render(template, **_seen_by(request), **context)
    digest = blake2s(content.encode(), digest_size=8).hexdigest()
    address = f"{path}?{urlencode({**(query or {}), 'seen': digest})}"
    # Both are rendered by templates, which escape what they show.
    inside = Markup(content)  # noqa: S704
    markup = PAGES.render("_live.html", tag=tag, address=address, trigger=trigger, content=inside)
    return Part(digest, Markup(markup))  # noqa: S704


def show(request: Request, template: str, *, status: int = 200, **context: Any) -> Response:
    """Answer with a page for the operator who asks."""
    return PAGES.answer(
        request,
        template,
        status=status,
        visitor=request.state.visitor,
        **_seen_by(request),
        **context,
    )


def show_secret(request: Request, template: str, **context: Any) -> Response:
    """Answer with what is shown this once: within the page that asks, or as a page of its own."""
    name = f"_{template}" if is_fragment(request) else template
    return PAGES.answer(
        request, name, status=201, visitor=request.state.visitor, headers=SECRET, **context
    )


def leave(request: Request, path: str) -> Response:
    """Lead to a page after an act."""
    if is_fragment(request):
        return Response(status_code=204, headers={"HX-Redirect": path})
    return RedirectResponse(path, status_code=303)


def _seen_by(request: Request) -> dict[str, Any]:
    operator: Operator = request.state.operator
    return {
        "operator": operator,
        "may_act": operator.role.covers(Role.OPERATOR),
        "may_destroy": operator.role.covers(Role.OWNER),
        "now": datetime.now(UTC),
    }
