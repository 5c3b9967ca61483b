"""What all sections of the console are made of."""

from dataclasses import dataclass
from typing import Any

from fastapi import APIRouter, Request, Response

from freehold.console.pages import Pages
from freehold.console.routes import PageRoute
from freehold.contracts.errors import MissingScope
from freehold.security.api_keys import Scope
from freehold_query.console.visitors import Visitors
from freehold_query.readers import Reader
from freehold_query.reads import Reads


@dataclass(frozen=True, slots=True)
class Console:
    """The pages, who looks at them, and what they are read with."""

    pages: Pages
    visitors: Visitors
    reads: Reads

    async def reader(self, request: Request, *scopes: Scope) -> Reader:
        """Find who asks for a page, as `Visitors.reader` does."""
        return await self.visitors.reader(request, *scopes)

    async def has(self, request: Request, scope: Scope) -> bool:
        """Say whether the key of who asks for a page has a scope."""
        try:
            await self.reader(request, scope)
        except MissingScope:
            return False
        return True

    def answer(self, request: Request, template: str, **context: Any) -> Response:
        """Answer a visitor with a page, as `Pages.answer` does."""
        return self.pages.answer(request, template, visitor=request.state.visitor, **context)


def page_router() -> APIRouter:
    """Make a router for the pages of a section."""
    return APIRouter(prefix="/console", route_class=PageRoute, include_in_schema=False)
