"""TLS to Postgres: what the catalog's URL asks for holds for the tenants' databases as well.

The parameters of the URL mean what they mean to libpq (PostgreSQL, "SSL Support"): `sslmode`,
`sslrootcert`, `sslcert` and `sslkey`. One file of certificates may hold those of several
authorities.
"""

import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args
from urllib.parse import parse_qsl, urlsplit

Unverified = Literal["disable", "allow", "prefer"]
_UNVERIFIED: Mapping[str, Unverified] = {mode: mode for mode in get_args(Unverified)}
_ENCRYPTED = ("require", "verify-ca", "verify-full")
_FILES = ("sslrootcert", "sslcert", "sslkey")
_VARIABLES = {name: f"PG{name.upper()}" for name in ("sslmode", *_FILES)}


@dataclass(frozen=True, slots=True)
class Tls:
    """How connections to servers are encrypted."""

    context: ssl.SSLContext | Unverified | None
    """What asyncpg takes as `ssl`. None is its default: it encrypts where the server can."""
    variables: Mapping[str, str]
    """The same for Postgres' own programs."""

    @classmethod
    def of(cls, url: str) -> "Tls":
        """Read the parameters of a database's URL. Files are read once, here.

        Raises:
            ValueError: A parameter has no meaning, or a file cannot be used. The message names it,
                and no secret.
        """
        given = dict(parse_qsl(urlsplit(url).query))
        mode = given.get("sslmode")
        variables = {_VARIABLES[name]: given[name] for name in _VARIABLES if name in given}
        if mode is None and variables:
            raise ValueError(f"{', '.join(sorted(given.keys() & set(_FILES)))} without sslmode")
        if mode is None or mode in _UNVERIFIED:
            return cls(_UNVERIFIED.get(mode or ""), variables)
        if mode not in _ENCRYPTED:
            raise ValueError(f"sslmode is to be one of {', '.join((*_UNVERIFIED, *_ENCRYPTED))}")
        for name in _FILES:
            if name in given and not Path(given[name]).is_file():
                raise ValueError(f"{name}: there is no file {given[name]}")
        return cls(_context(mode, given), variables)


OPPORTUNISTIC = Tls(None, {})
"""What a URL without parameters asks for."""


def _context(mode: str, given: Mapping[str, str]) -> ssl.SSLContext:
    authorities = given.get("sslrootcert")
    if authorities is None and mode != "require":
        raise ValueError(f"sslmode={mode} needs sslrootcert, a file of certificates to trust")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = mode == "verify-full"
    try:
        if authorities is None:
            context.verify_mode = ssl.CERT_NONE
        else:
            context.load_verify_locations(authorities)
        if "sslcert" in given:
            context.load_cert_chain(given["sslcert"], given.get("sslkey"))
    except OSError as error:
        # ssl.SSLError is one: what is in the file is no certificate.
        raise ValueError(f"the files of certificates cannot be used: {error}") from None
    return context
