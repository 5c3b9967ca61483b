"""The files that pages load: style sheets and scripts, below an address that names their content.

So a browser keeps them for a year, and loads them anew with each release that changes one.
"""

from collections.abc import Iterable, Iterator
from hashlib import sha256
from importlib.resources import files
from importlib.resources.abc import Traversable
from typing import Any

from fastapi import APIRouter, Response

from freehold.contracts.errors import NotFound

_MEDIA_TYPES = {"css": "text/css", "js": "text/javascript", "svg": "image/svg+xml"}
_KEPT = {"Cache-Control": "public, max-age=31536000, immutable"}
_HTMX = "htmx-2.min.js"


class Assets:
    """The files in the folders `static` of some packages, and htmx."""

    def __init__(self, *packages: str) -> None:
        """Read all files; a later package's file replaces an earlier one's of the same name."""
        found = [files("django_htmx") / "static" / "django_htmx" / _HTMX]
        for package in packages:
            found += _files(files(package) / "static")
        self._contents = {file.name: file.read_bytes() for file in found}
        self._folder = f"/console/assets/{_digest(self._contents.values())}"

    def address(self, name: str) -> str:
        """Give the address of a file.

        Raises:
            KeyError: There is no such file.
        """
        if name not in self._contents:
            raise KeyError(name)
        return f"{self._folder}/{name}"

    def routes(self) -> APIRouter:
        """Make the route of the files, which needs no credential."""
        router = APIRouter(include_in_schema=False)

        # Scripts import each other by their names alone: they share one folder.
        @router.get(f"{self._folder}/{{name}}")
        async def asset(name: str) -> Any:
            content = self._contents.get(name)
            if content is None:
                raise NotFound("there is no such file")
            media_type = _MEDIA_TYPES[name.rpartition(".")[2]]
            return Response(content, headers=_KEPT, media_type=media_type)

        return router


def _files(folder: Traversable) -> Iterator[Traversable]:
    if folder.is_dir():
        for file in folder.iterdir():
            if file.name.rpartition(".")[2] in _MEDIA_TYPES:
                yield file


def _digest(contents: Iterable[bytes]) -> str:
    whole = sha256()
    for content in contents:
        whole.update(sha256(content).digest())
    return whole.hexdigest()[:16]
