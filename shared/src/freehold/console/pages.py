"""Pages of HTML, rendered from templates."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, Protocol

from fastapi import Request, Response
from fastapi.responses import HTMLResponse
from jinja2 import ChoiceLoader, Environment, PackageLoader, StrictUndefined

from freehold.console import texts
from freehold.console.assets import Assets
from freehold.contracts.errors import DomainError
from freehold.http.problems import problem_document

ErrorPage = Callable[[Request, DomainError], Response]

_OWN = "freehold.console"
_FRAGMENT = "hx-request"
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:;"
    " connect-src 'self'; base-uri 'none'; frame-ancestors 'none'; form-action 'self'"
)


class Section(NamedTuple):
    """An entry of a console's navigation."""

    name: str
    path: str


class Visitor(Protocol):
    """Who looks at a page."""

    @property
    def shown_name(self) -> str:
        """What the page calls them."""


class Pages:
    """The pages of one console."""

    def __init__(
        self,
        package: str,
        *,
        title: str,
        sections: Sequence[Section],
        form_targets: Sequence[str] = (),
    ) -> None:
        """Read the templates and the files that pages load.

        Args:
            package: Has the console's own folders `templates` and `static`.
            title: The console's name.
            sections: Its navigation, for those who are signed in.
            form_targets: Other origins that forms may be sent to.
        """
        self.assets = Assets(_OWN, package)
        self._headers = {"Content-Security-Policy": " ".join([_POLICY, *form_targets])}
        self._environment = Environment(
            loader=ChoiceLoader([PackageLoader(package), PackageLoader(_OWN)]),
            autoescape=True,
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        self._environment.filters |= texts.FILTERS
        self._environment.globals |= {
            "asset": self.assets.address,
            "console": title,
            "sections": tuple(sections),
        }

    def answer(
        self,
        request: Request,
        template: str,
        *,
        status: int = 200,
        visitor: Visitor | None = None,
        headers: Mapping[str, str] | None = None,
        **context: Any,
    ) -> Response:
        """Answer with a page, or with a part of one.

        Args:
            request: The request; the navigation marks its section.
            template: The template's name.
            status: The HTTP status.
            visitor: Who is signed in; None shows no navigation.
            headers: More headers.
            context: What the template shows.
        """
        text = self.render(template, path=request.url.path, visitor=visitor, **context)
        return HTMLResponse(text, status, {**self._headers, **(headers or {})})

    def render(self, template: str, **context: Any) -> str:
        """Render a template."""
        return self._environment.get_template(template).render(context)

    def error(self, request: Request, error: DomainError) -> Response:
        """Answer with an error: as a page, or as its text where a part of a page is wanted."""
        document = problem_document(error)
        visitor = getattr(request.state, "visitor", None)
        retry_after_s = error.retry_after_s
        return self.answer(
            request,
            "_problem.html" if is_fragment(request) else "problem.html",
            status=document["status"],
            visitor=visitor,
            headers={}
            if retry_after_s is None
            else {"Retry-After": str(round(retry_after_s) or 1)},
            problem=document,
        )


def is_fragment(request: Request) -> bool:
    """Say whether a page asks for a part of itself."""
    return _FRAGMENT in request.headers
