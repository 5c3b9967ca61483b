"""Waiting for the end of what takes long."""

from collections.abc import Callable

from freehold_client.core import Core
from freehold_client.errors import FreeholdError
from freehold_client.generated import calls
from freehold_client.generated.models import Operation
from freehold_client.methods import Plan

_ENDED = frozenset({"succeeded", "failed"})
_POLL_FIRST_S = 0.1
_POLL_MOST_S = 2.0


class OperationFailedError(FreeholdError):
    """An operation that was waited for has failed.

    Args:
        operation: The operation; its `message` says why.
    """

    def __init__(self, operation: Operation) -> None:
        super().__init__(operation)
        self.operation = operation

    def __str__(self) -> str:
        operation = self.operation
        return f"{operation.kind} {operation.operation_id} failed: {operation.message}"


def wait_for_operation(
    operation: Operation | str,
    *,
    within_s: float = 600.0,
    on_progress: Callable[[Operation], object] | None = None,
) -> Plan[Operation]:
    """Wait until an operation has succeeded, and give it.

    Args:
        operation: The operation, or its id.
        within_s: How long to wait. The operation goes on by itself.
        on_progress: Called with each state of the operation that is seen, the last one too.

    Raises:
        OperationFailedError: It failed.
        TimeoutError: It has not ended yet.
        Problem: Tenant-manager refuses to tell.
        NoAnswerError: Tenant-manager is away for `retry_for_s`.
    """
    operation_id = operation if isinstance(operation, str) else operation.operation_id
    call = calls.get_operation(operation_id)

    async def wait(core: Core) -> Operation:
        began = core.clock()
        pause_s = _POLL_FIRST_S
        while True:
            seen = await core.answer(call)
            if on_progress is not None:
                on_progress(seen)
            if seen.status == "failed":
                raise OperationFailedError(seen)
            if seen.status in _ENDED:
                return seen
            if core.clock() - began + pause_s > within_s:
                raise TimeoutError(f"{seen.kind} {operation_id} goes on after {within_s:g} s")
            await core.transport(call.route.service).pause(pause_s)
            pause_s = min(pause_s * 1.5, _POLL_MOST_S)

    return wait
