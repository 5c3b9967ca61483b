"""What a client prefers of an answer: the Prefer header (RFC 7240). Others are ignored.

`amounts=string` is for JavaScript: its `JSON.parse` loses integers beyond 2^53.
"""

import re
from typing import Any

from starlette.requests import Request

from freehold.http.bodies import header_values
from freehold.http.direct import Reply

# A comma in quotes does not end a preference.
_PREFERENCE = re.compile(r'(?:[^,"]|"(?:[^"\\]|\\.)*+(?:"|\\?$))++', re.DOTALL)
# Exact in compact JSON: inside a string a quote has a backslash before it, and metadata has no
# numbers.
_AMOUNT = re.compile(rb'(_minor":)(-?[0-9]++)')
APPLIED = "Preference-Applied"


def prefer_header(*others: str) -> dict[str, Any]:
    """Describe the header, for OpenAPI: `amounts`, and a sentence for each other preference."""
    amounts = (
        "`amounts=string` answers every amount (`…_minor`) as a string of digits, where the schema"
        " has an integer."
    )
    return {
        "name": "Prefer",
        "in": "header",
        "schema": {"type": "string", "maxLength": 1024},
        "description": " ".join([amounts, *others]),
    }


def preference(request: Request, name: str) -> str | None:
    """Give the value that a client prefers for something, in lower case; None without preference.

    The first one counts (section 2).
    """
    headers = header_values(request, b"prefer")
    for each in _PREFERENCE.findall(",".join(headers)) if headers else ():
        named, _, value = each.partition(";")[0].partition("=")
        if named.strip().lower() == name:
            return str(value).strip().strip('"').lower()
    return None


def applied(reply: Reply, preferred: str) -> Reply:
    """Say in a reply that a preference was applied, beside those that it names (section 3)."""
    named = reply.headers.get(APPLIED)
    value = f"{named}, {preferred}" if named else preferred
    return reply._replace(headers={**reply.headers, APPLIED: value})


def amounts_as_preferred(request: Request, reply: Reply) -> Reply:
    """Write the amounts of a reply as strings, if its client prefers that."""
    if not prefers_strings(request):
        return reply
    return applied(reply._replace(body=amounts_as_strings(reply.body)), "amounts=string")


def prefers_strings(request: Request) -> bool:
    """Say whether a client prefers amounts as strings."""
    return preference(request, "amounts") == "string"


def amounts_as_strings(body: bytes) -> bytes:
    """Write the amounts in compact JSON as strings."""
    return _AMOUNT.sub(rb'\1"\2"', body)
