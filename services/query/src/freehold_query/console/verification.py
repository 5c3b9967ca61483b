"""The page of verification."""

from fastapi import APIRouter, Request, Response

from freehold.security.api_keys import Scope
from freehold_query.console.console import Console, page_router


def verification_pages(console: Console) -> APIRouter:
    """Make the pages of the section."""
    router = page_router()

    @router.get("/verification")
    async def page(request: Request) -> Response:
        await console.reader(request, Scope.READ)
        return console.answer(request, "section.html", name="Verify")

    return router
