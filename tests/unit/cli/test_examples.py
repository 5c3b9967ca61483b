"""Every command's help has examples, and each of them is a call of that command."""

import re
import shlex
from collections.abc import Iterator
from typing import Any

import pytest
import typer

from freehold_cli.__main__ import app
from freehold_cli.command_groups import Command, Group

ROOT = typer.main.get_command(app)


def commands(command: Any, path: str) -> Iterator[tuple[str, Any]]:
    """Give what can be called, with the words that call it."""
    if not isinstance(command, Group) or command.invoke_without_command:
        yield path, command
    for name, each in getattr(command, "commands", {}).items():
        yield from commands(each, f"{path} {name}")


COMMANDS = dict(commands(ROOT, "freehold"))
EXAMPLES = [
    (path, command, example)
    for path, command in {"freehold": ROOT, **COMMANDS}.items()
    for example in command.examples
]


def called(words: list[str]) -> Any:
    """Parse a call down to its command, as the shell's words say, and give the command."""
    command: Any = ROOT
    context: Any = None
    name: Any = words.pop(0)
    while True:
        context = command.make_context(name, words, parent=context)
        words = [*context._protected_args, *context.args]
        if not isinstance(command, Group) or not words:
            return command
        name, command, words = command.resolve_command(context, words)


@pytest.mark.parametrize("path", COMMANDS)
def test_every_command_has_examples(path: str) -> None:
    command = COMMANDS[path]
    assert isinstance(command, Command | Group)
    assert command.examples
    assert "Examples:" not in str(command.help)


@pytest.mark.parametrize(
    ("path", "command", "example"), EXAMPLES, ids=[example for _, _, example in EXAMPLES]
)
def test_an_example_is_a_call_of_its_command(path: str, command: Any, example: str) -> None:
    # Of a pipe, the part that is ours; of a substitution, what is within.
    (call,) = re.findall(r"(?<![\w.])freehold [^|>)]*", example)
    words = shlex.split(call)
    found = called(words)
    assert found is command or path == "freehold"


def test_help_ends_with_the_examples(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        app(["keys", "create", "--help"])
    assert ended.value.code == 0
    shown = capsys.readouterr().out
    assert "It is shown this once" in shown.partition("Examples:")[0]
    last = [line.strip() for line in shown.partition("Examples:")[2].splitlines() if line.strip()]
    assert last == COMMANDS["freehold keys create"].examples
