"""The express lane of single events: those that nothing speaks against, without a task for each.

A request of a tenant who has had their share is refused. Any other that something speaks against is
left to the route, which says what it is.
"""

import asyncio
from collections.abc import Sequence
from typing import cast

from freehold.contracts.events import NewEvent
from freehold.contracts.problems import Problem
from freehold.ledger.appending import Answer, AppendRequest, fingerprint
from freehold.security.api_keys import Scope
from freehold.service.authentication import known_caller
from freehold.service.bodies import parse
from freehold.service.express import ExpressRequest
from freehold.tenancy.directory import Directory
from freehold_ingest.answers import one_event, reply
from freehold_ingest.appender import Appender
from freehold_ingest.keys import usable_key
from freehold_ingest.limits import Limits, Share


class _Waiter:
    """Hears what became of a request's event, and answers in a moment: the next append is first."""

    __slots__ = ("_answers", "_error", "_events", "_wanted", "request")

    def __init__(self, events: "ExpressEvents", request: ExpressRequest, wanted: AppendRequest):
        self._events = events
        self.request = request
        self._wanted = wanted
        self._answers: Sequence[Answer] = ()
        self._error: BaseException | None = None

    def done(self) -> bool:
        """Say whether the request has been answered already: it was late."""
        return self.request.response_complete

    def set_result(self, answers: Sequence[Answer], /) -> None:
        """Hear of the answer."""
        self._answers = answers
        self._events.answer_soon(self)

    def set_exception(self, error: BaseException, /) -> None:
        """Hear of a failure."""
        self._error = error
        self._events.answer_soon(self)

    def answer(self) -> None:
        """Answer with the event.

        Raises:
            Exception: There is none.
        """
        if self._error is not None:
            raise self._error
        status, body, headers = reply(self._answers[0], one_event, self._wanted)
        lines = "".join([f"{name.lower()}: {value}\r\n" for name, value in headers.items()])
        self.request.answer(status, body, lines.encode())


class ExpressEvents:
    """Takes requests for single events, and answers them as their route would."""

    def __init__(self, directory: Directory, limits: Limits, appender: Appender) -> None:
        self._directory = directory
        self._limits = limits
        self._appender = appender
        self._answered: list[_Waiter] = []

    def admit(self, request: ExpressRequest) -> Share | None:
        """Let a request in whose tenant is known.

        Raises:
            Problem: too-many-requests.
        """
        authorization = request.headers.get(b"authorization", b"")
        caller = known_caller(self._directory, authorization, Scope.INGEST)
        if caller is None:
            return None
        request.tenant_id = caller.home.tenant_id
        return self._limits.enter(caller.home)

    def serve(self, request: ExpressRequest) -> bool:
        """Take a request, unless it is not plainly in order."""
        home = cast("Share", request.admission).home
        sent = request.headers.get(b"idempotency-key", b"").decode("latin-1")
        try:
            key = usable_key(sent, "")
            additions = [parse(NewEvent, request.body)]
            wanted = AppendRequest(key, fingerprint("event", additions), additions)
            return self._appender.submit(home, wanted, _Waiter(self, request, wanted))
        except Problem:
            return False

    def answer_soon(self, waiter: _Waiter) -> None:
        """Answer when what goes on now has come to a pause."""
        if not self._answered:
            asyncio.get_running_loop().call_soon(self._answer)
        self._answered.append(waiter)

    def _answer(self) -> None:
        answered, self._answered = self._answered, []
        for waiter in answered:
            try:
                waiter.answer()
            except Exception as error:  # noqa: BLE001 (every failure gets an answer)
                waiter.request.fail(error)
