"""What a stream consists of: Server-Sent Events (WHATWG HTML, section 9.2.6)."""

import orjson

from freehold.contracts.errors import DomainError
from freehold.http.problems import Problem

RETRY = b"retry: 2000\n\n"
"""Clients that lose the connection come again after 2 s."""
HEARTBEAT = b":\n\n"
STOPPED = b": the service stops; come again\n\n"


def balance_frame(balance: bytes, event_id: str) -> bytes:
    """Send a balance, in JSON."""
    return b"event: balance\nid: %b\ndata: %b\n\n" % (event_id.encode(), balance)


def mark_frame(event_id: str) -> bytes:
    """Tell the position. Without data it is no event, but clients keep the id."""
    return b":\nid: %b\n\n" % event_id.encode()


def restart_frame(epoch: int) -> bytes:
    """Tell that the ledger was restored: all balances known so far are void."""
    return b"event: restart\ndata: %b\n\n" % orjson.dumps({"epoch": epoch})


def problem_frame(error: DomainError) -> bytes:
    """Tell why the stream ends."""
    return b"event: problem\ndata: %b\n\n" % Problem.of(error).body
