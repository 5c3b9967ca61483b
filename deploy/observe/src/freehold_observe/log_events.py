"""Every line that the services may log, as their sources have it."""

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from freehold_observe.sources import Module, modules

_LEVELS = {
    "debug": "debug",
    "info": "info",
    "warning": "warning",
    "error": "error",
    "exception": "error",
    "critical": "critical",
}
_LOGS = {"log", "_log"}


@dataclass(frozen=True, slots=True, order=True)
class LogEvent:
    """A line.

    Attributes:
        service: Whose code logs it.
        text: Its event. Words in braces differ from line to line.
        level: Its level.
        path: The module that logs it, from the top of the checkout.
        fields: Its own fields, without those that every line has.
    """

    service: str
    text: str
    level: str
    path: Path
    fields: tuple[str, ...]


def log_events() -> list[LogEvent]:
    """Read all log events, by service and text."""
    return sorted({event for module in modules() for event in _logged(module)})


def _logged(module: Module) -> Iterator[LogEvent]:
    bound = _bound(module)
    for call in module.calls():
        function = call.func
        if not (isinstance(function, ast.Attribute) and function.attr in _LEVELS):
            continue
        name = _name(function.value)
        if name in _LOGS and call.args:
            fields = [*bound.get(name, ()), *_fields(call)]
            if function.attr == "exception" and "exception" not in fields:
                fields.append("exception")
            yield LogEvent(
                module.service, _text(call.args[0]), _LEVELS[function.attr], module.path, (*fields,)
            )


def _bound(module: Module) -> dict[str, list[str]]:
    """Give the fields of loggers that have some of their own, by the loggers' names."""
    return {
        _name(node.targets[0]): _fields(node.value)
        for node in ast.walk(module.tree)
        if isinstance(node, ast.Assign)
        and isinstance(node.value, ast.Call)
        and isinstance(node.value.func, ast.Attribute)
        and node.value.func.attr == "bind"
    }


def _name(expression: ast.expr) -> str:
    match expression:
        case ast.Name(id=name) | ast.Attribute(attr=name):
            return name
    return ""


def _fields(call: ast.Call) -> list[str]:
    names = [word.arg or f"{ast.unparse(word.value)}…" for word in call.keywords]
    return ["exception" if name == "exc_info" else name for name in names]


def _text(argument: ast.expr) -> str:
    """Read the text of an event.

    Raises:
        ValueError: It is neither a text nor one with parts that differ.
    """
    match argument:
        case ast.Constant(value=str(text)):
            return text
        case ast.JoinedStr():
            return ast.unparse(argument)[2:-1]
    raise ValueError(f"the text of a log event cannot be read: {ast.unparse(argument)}")
