"""``freehold-local``: the whole of Freehold on this machine without Docker."""

import os
import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from freehold_local.errors import StackError
from freehold_local.folders import CHECKOUT
from freehold_local.installation import find_postgres, find_rabbitmq, install_missing
from freehold_local.progress import Terminal
from freehold_local.stack import Stack

app = typer.Typer(
    help=__doc__, no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False
)
publisher = typer.Typer(
    help="Make, remove and list the broker's users of apps that publish to `freehold.inbound`.",
    no_args_is_help=True,
)
app.add_typer(publisher, name="publisher")
out = Console()
errors = Console(stderr=True)

State = Annotated[Path, typer.Option(help="The folder that keeps everything of the stack.")]
DEFAULT_STATE = CHECKOUT / ".local"


@app.command()
def up(state: State = DEFAULT_STATE) -> None:
    """Start Postgres, RabbitMQ and the four services, and wait until they are ready."""
    stack = Stack(state)
    with Terminal(out) as progress:
        started = stack.up(progress)
    env_file = _short(stack.env_file)
    out.print("Freehold is up." if started else "Freehold was up already.", style="bold")
    out.print(f"  URLs and the operator token   set -a; . {env_file}; set +a", highlight=False)
    out.print(f"  logs                          {_short(stack.state / 'logs')}", highlight=False)
    if stack.prometheus_url is not None:
        out.print(f"  Prometheus                    {stack.prometheus_url}", highlight=False)
    out.print("  stop it, keeping its data     make down", highlight=False)


@app.command()
def down(state: State = DEFAULT_STATE) -> None:
    """Stop what ``up`` started; the data stays."""
    with Terminal(out) as progress:
        stopped = Stack(state).down(progress)
    out.print("Freehold is down; its data is kept." if stopped else "Freehold was not up.")


@app.command()
def status(state: State = DEFAULT_STATE) -> None:
    """Show what is running; exit 1 where something is not."""
    states = Stack(state).states()
    table = Table("program", "state", "pid", box=None)
    for name, program in states.items():
        table.add_row(name, program.state.lower(), str(program.pid or ""))
    out.print(table if states else "Freehold is not up.")
    if not states or not all(program.pid for program in states.values()):
        raise typer.Exit(1)


@app.command()
def install() -> None:
    """Install the servers' programs where they are missing; nothing of them is started."""
    with Terminal(out) as progress:
        install_missing(progress.doing)
    out.print(f"PostgreSQL  {find_postgres()}\nRabbitMQ    {find_rabbitmq()}", highlight=False)


Name = Annotated[str, typer.Argument(help="The publisher's name: letters, digits, - and _.")]


@publisher.command("add")
def add_publisher(name: Name, state: State = DEFAULT_STATE) -> None:
    """Make a user that may publish events and read its own answers; its URL is shown this once."""
    stack = Stack(state)
    # Erlang's warnings come before it.
    url = stack.publisher("add", name).splitlines()[-1]
    try:
        typer.echo(url)
    except OSError as error:
        stack.publisher("remove", name)
        raise StackError(
            f"The URL cannot be written ({error.strerror}), so the user {name} was removed again."
        ) from error


@publisher.command("remove")
def remove_publisher(name: Name, state: State = DEFAULT_STATE) -> None:
    """Remove a publisher's user and close its connections."""
    Stack(state).publisher("remove", name)


@publisher.command("list")
def list_publishers(state: State = DEFAULT_STATE) -> None:
    """Show the names of all publishers."""
    typer.echo(Stack(state).publisher("list"), nl=False)


@app.command()
def demo(state: State = DEFAULT_STATE) -> None:
    """Start the stack and show on three tenants that what Freehold promises holds."""
    # Only the demo needs what it imports.
    from freehold_local.demo import run  # noqa: PLC0415

    raise typer.Exit(run(state))


def main() -> None:
    """Run the command line. Errors that a person can mend are shown without a traceback."""
    try:
        app()
    except StackError as error:
        _print_error(str(error))
        sys.exit(1)
    except PermissionError as error:
        _print_error(
            f"{error}\nAnother user has started the stack here before (root, perhaps): "
            "go on as that user."
        )
        sys.exit(1)
    except OSError as error:
        # A disk that is full or cannot be written to, for one. What stdout still holds would fail
        # again when Python ends, and be a second message.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        _print_error(f"This machine does not let us: {error}")
        sys.exit(1)


def _print_error(fault: str) -> None:
    errors.print(fault, style="red", markup=False, highlight=False, soft_wrap=True)


def _short(path: Path) -> str:
    here = Path.cwd()
    return str(path.relative_to(here) if path.is_relative_to(here) else path)


if __name__ == "__main__":
    main()
