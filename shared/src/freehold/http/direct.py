"""Direct routes: documented by FastAPI, served without its layers.

FastAPI's routing, dependencies and responses take more time than all the rest of a small request.
A direct route needs none of them: its endpoint takes the request, and returns a `Reply`, which the
connection (connections.py) writes in one piece. `Access` stands before both kinds of routes.
"""

from collections.abc import Awaitable, Callable, Mapping
from types import MappingProxyType
from typing import NamedTuple

from fastapi import APIRouter, Request
from fastapi.routing import APIRoute


class Reply(NamedTuple):
    """An answer in JSON, over HTTP or not.

    Its headers are none of those that every answer has, except for a Cache-Control of its own.
    """

    status: int
    body: bytes
    headers: Mapping[str, str] = MappingProxyType({})


Endpoint = Callable[[Request], Awaitable[Reply]]
Answer = Callable[[Reply, str, bytes], Awaitable[None]]
"""Sends a reply of a media type to the request with an id."""


class DirectRoutes:
    """The direct routes of an application."""

    def __init__(self) -> None:
        self._by_path: dict[tuple[str, str], APIRoute] = {}
        self._with_parameters: dict[str, list[APIRoute]] = {}

    def add(self, router: APIRouter) -> None:
        """Add all routes of a router."""
        for route in router.routes:
            if not isinstance(route, APIRoute):
                continue
            for method in route.methods or ():
                if route.param_convertors:
                    self._with_parameters.setdefault(method, []).append(route)
                else:
                    self._by_path[method, route.path] = route

    def find(self, method: str, path: str) -> tuple[APIRoute, dict[str, str]] | None:
        """Find a request's route, and the parameters in its path."""
        route = self._by_path.get((method, path))
        if route is not None:
            return route, {}
        for route in self._with_parameters.get(method, ()):
            if found := route.path_regex.match(path):
                return route, found.groupdict()
        return None
