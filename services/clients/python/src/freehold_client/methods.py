"""Methods of both clients, made from one plan: what is done as soon as there is a core.

A plan is a coroutine over a core, or an asynchronous generator. The blocking client runs it, the
other one awaits it.
"""

from collections.abc import AsyncGenerator, Callable, Coroutine, Generator, Sequence
from functools import update_wrapper
from typing import Any, Generic, ParamSpec, Protocol, TypeVar, overload

from freehold_client.calls import Call
from freehold_client.core import Core

P = ParamSpec("P")
T = TypeVar("T")
WholeT = TypeVar("WholeT", bound="Whole")
T_co = TypeVar("T_co", covariant=True)

Plan = Callable[[Core], Coroutine[Any, Any, T]]
"""Gives one thing."""
Series = Callable[[Core], AsyncGenerator[T, None]]
"""Gives things one after the other."""


class Blocking:
    """A client whose methods block the thread."""

    core: Core


class Awaiting:
    """A client whose methods are awaited."""

    core: Core


class _Method(Generic[P, T]):
    """A method of both clients.

    Args:
        plan: Makes the work, over a core; it has the method's signature and text.
    """

    def __init__(self, plan: Callable[P, Callable[[Core], T]]) -> None:
        self._plan = plan

    def _bound(
        self, client: Blocking | Awaiting | None, drive: Callable[[T], object]
    ) -> Callable[P, object]:
        """Bind it to a client; the work for one that blocks is driven to its end."""
        if client is None:
            return self._plan

        def bound(*args: P.args, **kwargs: P.kwargs) -> object:
            work = self._plan(*args, **kwargs)(client.core)
            return drive(work) if isinstance(client, Blocking) else work

        return update_wrapper(bound, self._plan)


class Answered(_Method[P, Coroutine[Any, Any, T]]):
    """A method that gives one thing."""

    @overload
    def __get__(self, client: None, owner: type) -> Callable[P, Plan[T]]: ...
    @overload
    def __get__(self, client: Blocking, owner: type) -> Callable[P, T]: ...
    @overload
    def __get__(self, client: Awaiting, owner: type) -> Callable[P, Coroutine[Any, Any, T]]: ...
    def __get__(self, client: Blocking | Awaiting | None, owner: type) -> Callable[..., object]:
        """Bind the method to a client."""
        return self._bound(client, run)


class Iterated(_Method[P, AsyncGenerator[T, None]]):
    """A method that gives things one after the other."""

    @overload
    def __get__(self, client: None, owner: type) -> Callable[P, Series[T]]: ...
    @overload
    def __get__(self, client: Blocking, owner: type) -> Callable[P, Generator[T, None, None]]: ...
    @overload
    def __get__(self, client: Awaiting, owner: type) -> Callable[P, AsyncGenerator[T, None]]: ...
    def __get__(self, client: Blocking | Awaiting | None, owner: type) -> Callable[..., object]:
        """Bind the method to a client."""
        return self._bound(client, _iterate)


def called(describe: Callable[P, Call[T]]) -> Answered[P, T]:
    """Make the method that sends a call and gives its answer."""

    def plan(*args: P.args, **kwargs: P.kwargs) -> Plan[T]:
        call = describe(*args, **kwargs)
        return lambda core: core.answer(call)

    return Answered(update_wrapper(plan, describe))


class Page(Protocol[T_co]):
    """A page of a list."""

    @property
    def data(self) -> Sequence[T_co]:
        """The entries of this page."""

    @property
    def next_cursor(self) -> str | None:
        """Asks for the next page; None on the last."""


class Whole(Protocol):
    """A page with members beside its entries."""

    data: list[Any]
    next_cursor: str | None


def paged(describe: Callable[P, Call[Page[T]]]) -> Iterated[P, T]:
    """Make the method that gives the entries of all pages, each page when it is needed."""

    def series(*args: P.args, **kwargs: P.kwargs) -> Series[T]:
        call = describe(*args, **kwargs)

        async def entries(core: Core) -> AsyncGenerator[T, None]:
            cursor: str | None = None
            while True:
                page = await core.answer(call.with_params(cursor=cursor))
                for entry in page.data:
                    yield entry
                if page.next_cursor is None:
                    return
                cursor = page.next_cursor

        return entries

    return Iterated(update_wrapper(series, describe))


def whole(describe: Callable[P, Call[WholeT]]) -> Answered[P, WholeT]:
    """Make the method that gives a document as one, with the entries of all its pages."""

    def plan(*args: P.args, **kwargs: P.kwargs) -> Plan[WholeT]:
        call = describe(*args, **kwargs)

        async def gathered(core: Core) -> WholeT:
            document = await core.answer(call)
            while document.next_cursor is not None:
                page = await core.answer(call.with_params(cursor=document.next_cursor))
                document.data += page.data
                document.next_cursor = page.next_cursor
            return document

        return gathered

    return Answered(update_wrapper(plan, describe))


def run(work: Coroutine[Any, Any, T]) -> T:
    """Run to its end what never suspends.

    Raises:
        RuntimeError: It suspended: it awaits something that is not its transport's.
    """
    try:
        work.send(None)
    except StopIteration as end:
        found: T = end.value
        return found
    work.close()
    raise RuntimeError("a blocking client cannot wait for an asynchronous source")


def _iterate(work: AsyncGenerator[T, None]) -> Generator[T, None, None]:
    try:
        while True:
            try:
                entry = run(work.__anext__())
            except StopAsyncIteration:
                return
            yield entry
    finally:
        run(work.aclose())
