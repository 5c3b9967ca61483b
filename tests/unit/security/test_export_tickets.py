"""Export tickets: what a service has signed is read for a minute, and nothing else is."""

import base64

import pytest

from freehold.security.export_tickets import LASTS_S, ExportTicket, ExportTickets
from freehold.security.key_ring import KeyRing
from freehold_query.tokens import ReadToken, ReadTokens

KEYS = KeyRing("test:" + base64.b64encode(bytes(range(32))).decode())
OTHERS = KeyRing("test:" + base64.b64encode(bytes(32)).decode())
TICKET = ExportTicket("acme", "00112233aabbccdd")


def test_a_ticket_is_read_by_another_service() -> None:
    assert ExportTickets(KEYS).read(ExportTickets(KEYS).sign(TICKET)) == TICKET


def test_a_ticket_ends_after_a_minute(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("freehold.security.export_tickets.LASTS_S", -1)
    assert LASTS_S == 60
    assert ExportTickets(KEYS).read(ExportTickets(KEYS).sign(TICKET)) is None


def test_nothing_else_is_a_ticket() -> None:
    # A read token is signed too, by a key for another purpose.
    read_token = ReadTokens(KEYS).sign(ReadToken("acme", TICKET.key_id, "", 2**32))
    signed = ExportTickets(KEYS).sign(TICKET)
    for text in ("", "a.b.c", read_token, ExportTickets(OTHERS).sign(TICKET), signed[:-4]):
        assert ExportTickets(KEYS).read(text) is None
