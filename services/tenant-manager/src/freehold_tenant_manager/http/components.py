"""The parts of the service that routes work with, found by their types."""

from typing import Any, TypeVar, cast

from fastapi import Depends, Request

Component = TypeVar("Component")


class Components:
    """One part of each type."""

    def __init__(self, *components: object) -> None:
        self._by_type: dict[type, object] = {}
        self.add(*components)

    def add(self, *components: object) -> None:
        """Add parts."""
        self._by_type |= {type(component): component for component in components}

    def has(self, kind: type) -> bool:
        """Say whether there is a part of a type."""
        return kind in self._by_type

    def find(self, kind: type[Component]) -> Component:
        """Give the part of a type.

        Raises:
            KeyError: There is none.
        """
        return cast("Component", self._by_type[kind])


def component(kind: type[Component]) -> Any:
    """Make a route's dependency on the part of a type."""

    def find(request: Request) -> Component:
        components: Components = request.app.state.components
        return components.find(kind)

    return Depends(find)
