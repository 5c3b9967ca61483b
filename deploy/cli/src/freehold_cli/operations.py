"""``freehold operations``: list, show and wait for long operations. Every command waits here."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Annotated

import typer
from rich.markup import escape
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn

from freehold_cli.command_groups import CommandGroup
from freehold_cli.connection import managing
from freehold_cli.errors import CliError, ExitCode, UnansweredError
from freehold_cli.options import AsJson
from freehold_cli.output import (
    Pacing,
    errors,
    shown_time,
    visible,
    write_error,
    write_facts,
    write_json,
    write_list,
    write_message,
)
from freehold_cli.service import Document, Service

app = CommandGroup(
    no_args_is_help=True,
    help="List, show and wait for operations, the long work of tenant-manager.",
)

_POLL_FIRST_S = 0.1
_POLL_MOST_S = 2.0
# Longer than a restart of tenant-manager. The operation continues meanwhile or afterwards.
_SILENCE_MOST_S = 120.0
_ENDED = frozenset({"succeeded", "failed"})

OperationId = Annotated[str, typer.Argument(help="The operation's id.")]


@app.command("list")
def list_(
    tenant: Annotated[str | None, typer.Option(help="Only this tenant's.")] = None,
    status: Annotated[
        str | None, typer.Option(help="Only those queued, running, succeeded or failed.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """List operations, the newest first.

    Examples:
        freehold operations list --status running
        freehold operations list --tenant acme
    """
    with managing(as_json=as_json) as manager:
        operations = manager.whole("operations", params={"tenant_id": tenant, "status": status})
    write_list(
        operations,
        {
            "operation": "operation_id",
            "kind": "kind",
            "tenant": "tenant_id",
            "status": "status",
            "progress": lambda operation: f"{operation['progress']:.0%}",
            "created": "created_at",
            "message": "message",
        },
        as_json=as_json,
    )


@app.command("show")
def show(operation: OperationId, as_json: AsJson = False) -> None:
    """Show the present state of an operation.

    Examples:
        freehold operations show 5f2b6f0e-3c52-4f5e-9a53-2a1f6b7a9c11
    """
    with managing(as_json=as_json) as manager:
        _write(manager.get("operations", operation), as_json=as_json)


@app.command("wait")
def wait(operation: OperationId, as_json: AsJson = False) -> None:
    """Wait for an operation's end; exits with 1 where it failed.

    Examples:
        freehold operations wait 5f2b6f0e-3c52-4f5e-9a53-2a1f6b7a9c11
    """
    with managing(as_json=as_json) as manager:
        finish(manager, manager.get("operations", operation), as_json=as_json)


def finish(
    manager: Service,
    operation: Document,
    *,
    no_wait: bool = False,
    as_json: bool,
    show: Callable[[Document], None] | None = None,
) -> Document:
    """Wait for an operation's end and print its result.

    Args:
        manager: Tenant-manager.
        operation: The operation, as tenant-manager answered it last.
        no_wait: Print it as it is, without waiting.
        as_json: Whether it is printed for another program.
        show: Prints the result of a success for a person, instead of all facts.

    Raises:
        CliError: Tenant-manager was away for too long, or the wait was interrupted.
        typer.Exit: The operation failed.
    """
    if no_wait:
        if not as_json:
            write_message(f"It goes on. To wait for its end: {_waiting(operation)}")
        _write(operation, as_json=as_json)
        return operation
    operation = _follow(manager, operation)
    if operation["status"] == "failed":
        if as_json:
            write_json(operation)
        write_error(f"{_name(operation)} failed: {operation['message']}")
        raise typer.Exit(ExitCode.REJECTED)
    if as_json or show is None:
        _write(operation, as_json=as_json)
    else:
        show(operation["result"] or {})
    return operation


def _follow(manager: Service, operation: Document) -> Document:
    """Poll the operation and show its progress until it ends."""
    pause_s = _POLL_FIRST_S
    answered_at = time.monotonic()
    complained = False
    try:
        with _showing() as shown:
            while operation["status"] not in _ENDED:
                shown(operation)
                time.sleep(pause_s)
                pause_s = min(pause_s * 1.5, _POLL_MOST_S)
                try:
                    operation = manager.get("operations", operation["operation_id"])
                except UnansweredError as error:
                    if time.monotonic() - answered_at > _SILENCE_MOST_S:
                        raise CliError(f"{error}\n{_goes_on(operation)}") from error
                    if not complained:
                        write_message(f"{error} Asking on.")
                    complained = True
                else:
                    answered_at = time.monotonic()
                    complained = False
    except KeyboardInterrupt:
        raise CliError(_goes_on(operation), ExitCode.INTERRUPTED) from None
    return operation


@contextmanager
def _showing() -> Iterator[Callable[[Document], None]]:
    """Show the progress: a bar at a terminal, a line every five seconds elsewhere."""
    if not errors.is_terminal:
        yield _Lines().show
        return
    columns = (
        TextColumn("{task.fields[kind]}"),
        BarColumn(),
        TaskProgressColumn(),
        TimeElapsedColumn(),
        TextColumn("{task.description}"),
    )
    with Progress(*columns, console=errors, transient=True) as bar:
        task = bar.add_task("", total=1.0, kind="")

        def show_bar(operation: Document) -> None:
            bar.update(
                task,
                completed=operation["progress"],
                kind=operation["kind"],
                description=escape(visible(operation["message"] or operation["status"])),
            )

        yield show_bar


class _Lines:
    """Prints the progress where it has changed, at most every five seconds."""

    def __init__(self) -> None:
        self._pacing = Pacing()
        self._last = ""

    def show(self, operation: Document) -> None:
        """Show an operation."""
        line = f"{operation['progress']:.0%} {operation['message'] or operation['status']}"
        if line != self._last and self._pacing.is_due():
            write_message(line)
            self._last = line


def _write(operation: Document, *, as_json: bool) -> None:
    if as_json:
        write_json(operation)
        return
    facts = {
        "operation": operation["operation_id"],
        "kind": operation["kind"],
        "tenant": operation["tenant_id"],
        "status": operation["status"],
        "progress": f"{operation['progress']:.0%}",
        "message": operation["message"] or None,
        "created": shown_time(operation["created_at"]),
        "finished": shown_time(operation["finished_at"]),
    }
    # A result may have a status of its own, such as that of the backup that was made.
    write_facts({**facts, **(operation["result"] or {}), **facts})


def _name(operation: Document) -> str:
    tenant = f" of {operation['tenant_id']}" if operation["tenant_id"] else ""
    return f"The {operation['kind']}{tenant}"


def _waiting(operation: Document) -> str:
    return f"freehold operations wait {operation['operation_id']}"


def _goes_on(operation: Document) -> str:
    return f"{_name(operation)} goes on by itself. To wait for its end: {_waiting(operation)}"
