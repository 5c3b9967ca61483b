"""First contact: services may start in any order, so each waits for the servers that it needs."""

import time

import structlog

_log = structlog.get_logger(__name__)

_PATIENCE_S = 30.0
_FIRST_PAUSE_S = 0.5
_LONGEST_PAUSE_S = 2.0


class FirstContact:
    """A server that was never reached yet: logged once, and as a warning after 30 s."""

    def __init__(self, what: str) -> None:
        self._what = what
        self._begun = time.monotonic()
        self._logged = 0
        self._pause_s = _FIRST_PAUSE_S

    def log(self, fault: BaseException) -> None:
        """Log that the process waits for it, and why."""
        is_long = time.monotonic() - self._begun > _PATIENCE_S
        if self._logged < 1 + is_long:
            self._logged = 1 + is_long
            write = _log.warning if is_long else _log.info
            write(f"waiting for {self._what}", fault=repr(fault))

    def pause_s(self) -> float:
        """Give the pause in seconds before the next try. It grows: tries fill the server's log."""
        pause_s = self._pause_s
        self._pause_s = min(pause_s * 1.5, _LONGEST_PAUSE_S)
        return pause_s
