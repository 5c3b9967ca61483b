"""Freehold from Python: typed calls, sync and async, that are safe to retry.

Each name is imported when it is first used, since a program may need none of them.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from freehold_client.client import AsyncFreehold as AsyncFreehold
    from freehold_client.client import Freehold as Freehold
    from freehold_client.errors import FieldError as FieldError
    from freehold_client.errors import FreeholdError as FreeholdError
    from freehold_client.errors import NoAnswerError as NoAnswerError
    from freehold_client.errors import Problem as Problem
    from freehold_client.errors import SettingsError as SettingsError
    from freehold_client.errors import UnexpectedAnswerError as UnexpectedAnswerError
    from freehold_client.errors import error_of as error_of
    from freehold_client.generated.problems import *  # noqa: F403 (whichever there are)
    from freehold_client.imports import ImportReport as ImportReport
    from freehold_client.operations import OperationFailedError as OperationFailedError
    from freehold_client.stream import BalanceChange as BalanceChange
    from freehold_client.stream import LedgerRestarted as LedgerRestarted

_MODULES = {
    "client": ("AsyncFreehold", "Freehold"),
    "errors": (
        "FieldError",
        "FreeholdError",
        "NoAnswerError",
        "Problem",
        "SettingsError",
        "UnexpectedAnswerError",
        "error_of",
    ),
    "imports": ("ImportReport",),
    "operations": ("OperationFailedError",),
    "stream": ("BalanceChange", "LedgerRestarted"),
}


def __getattr__(name: str) -> object:
    found = [module for module, names in _MODULES.items() if name in names]
    home = found[0] if found else "generated.problems"
    try:
        return getattr(import_module(f"{__name__}.{home}"), name)
    except AttributeError:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}") from None
