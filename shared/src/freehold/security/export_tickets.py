"""Export tickets: with one, a browser downloads a tenant's whole ledger from tenant-manager.

Query's console signs a ticket for who is signed in there, and tenant-manager takes it within a
minute, from the body of a form: so it is in no address and no log. It names an API key and holds no
secret. The key is looked up when the ticket is used.
"""

import time
from typing import NamedTuple

from freehold.security.key_ring import KeyRing
from freehold.security.signed_tokens import SignedTokens

LASTS_S = 60
TEXT_MAX = 2_048
"""No ticket has more characters."""


class ExportTicket(NamedTuple):
    """What a ticket says."""

    tenant_id: str
    key_id: str
    """The API key of who asks."""


class ExportTickets:
    """Signs export tickets, and reads them."""

    def __init__(self, key_ring: KeyRing) -> None:
        self._tokens = SignedTokens(
            key_ring,
            "freehold export tickets",
            issuer="freehold-query",
            audience="freehold-tenant-manager",
            claims=("sub", "key"),
        )

    def sign(self, ticket: ExportTicket) -> str:
        """Write a ticket, which is valid for a minute."""
        claims = {"sub": ticket.tenant_id, "key": ticket.key_id}
        return self._tokens.sign(claims, expires_at=int(time.time()) + LASTS_S)

    def read(self, text: str) -> ExportTicket | None:
        """Read a ticket; None if no service signed it, or it has expired."""
        claims = self._tokens.read(text)
        return None if claims is None else ExportTicket(claims["sub"], claims["key"])
