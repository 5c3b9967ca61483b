"""``freehold keys``: the API keys of a tenant."""

import re
from datetime import UTC, datetime, timedelta
from typing import Annotated

import typer

from freehold.security.api_keys import Scope
from freehold_cli.manager import Document, managing
from freehold_cli.options import AsJson, TenantId, parsed_time
from freehold_cli.output import shown_time, tell, write_json, write_line, write_table

app = typer.Typer(no_args_is_help=True, help="Make, list, rotate and revoke a tenant's API keys.")

_SPAN = re.compile(r"([0-9]{1,6})([smhd])", re.ASCII)
_UNITS_S = {"s": 1, "m": 60, "h": 3600, "d": 86_400}


def parsed_span(text: str) -> int:
    """Read a span of time such as 90s, 15m, 12h or 30d; answer its seconds.

    Raises:
        typer.BadParameter: It is none.
    """
    found = _SPAN.fullmatch(text)
    if found is None:
        raise typer.BadParameter(f"{text!r} is no span of time such as 90s, 15m, 12h or 30d")
    return int(found[1]) * _UNITS_S[found[2]]


KeyId = Annotated[str, typer.Argument(help="The key's id, as the list shows it.")]
ExpiresAt = Annotated[
    str | None,
    typer.Option(metavar="TIME", help="When it stops working, such as 2027-01-01T00:00:00Z."),
]
ExpiresIn = Annotated[
    str | None, typer.Option(metavar="SPAN", help="The same, counted from now: 12h or 30d.")
]


@app.command("create")
def create(
    tenant: TenantId,
    scope: Annotated[
        list[Scope] | None,
        typer.Option(help="What it may be used for; may be repeated. All, where left out."),
    ] = None,
    expires_at: ExpiresAt = None,
    expires_in: ExpiresIn = None,
    as_json: AsJson = False,
) -> None:
    """Make an API key and print it. It is shown this once."""
    wanted: Document = {
        "scopes": list(dict.fromkeys(scope or Scope)),
        "expires_at": _expiry(expires_at, expires_in),
    }
    with managing(as_json=as_json) as manager:
        made = manager.post("tenants", tenant, "api-keys", body=wanted)
    _write_made(made, as_json=as_json)


@app.command("list")
def list_(tenant: TenantId, as_json: AsJson = False) -> None:
    """List a tenant's API keys, revoked ones too. No secret is shown."""
    with managing(as_json=as_json) as manager:
        keys = manager.whole("tenants", tenant, "api-keys")
    if as_json:
        write_json(keys)
        return
    write_table(
        ("key", "scopes", "status", "created", "expires", "revoked"),
        (
            (
                key["key_id"],
                " ".join(key["scopes"]),
                _status(key),
                shown_time(key["created_at"]),
                shown_time(key["expires_at"]),
                shown_time(key["revoked_at"]),
            )
            for key in keys["data"]
        ),
    )


@app.command("revoke")
def revoke(tenant: TenantId, key: KeyId, as_json: AsJson = False) -> None:
    """Revoke an API key, at once and for good. Again, nothing changes."""
    with managing(as_json=as_json) as manager:
        manager.delete("tenants", tenant, "api-keys", key)
    if as_json:
        write_json({"key_id": key, "revoked": True})
        return
    tell(f"The key {key} of {tenant} is revoked.")


@app.command("rotate")
def rotate(
    tenant: TenantId,
    key: KeyId,
    overlap: Annotated[
        str, typer.Option(metavar="SPAN", help="How long the old key goes on working.")
    ] = "1h",
    expires_at: ExpiresAt = None,
    expires_in: ExpiresIn = None,
    as_json: AsJson = False,
) -> None:
    """Make a key of the same scopes and print it; the old one works on for a while."""
    wanted = {"overlap_s": parsed_span(overlap), "expires_at": _expiry(expires_at, expires_in)}
    with managing(as_json=as_json) as manager:
        made = manager.post("tenants", tenant, "api-keys", key, "rotate", body=wanted)
    if not as_json:
        tell(f"The key {key} works until {shown_time(made['replaced']['expires_at'])}.")
    _write_made(made, as_json=as_json)


def _expiry(at: str | None, span: str | None) -> str | None:
    if at is not None and span is not None:
        raise typer.BadParameter("give --expires-at or --expires-in, and not both")
    if span is not None:
        return (datetime.now(UTC) + timedelta(seconds=parsed_span(span))).isoformat()
    return None if at is None else parsed_time(at)


def _write_made(made: Document, *, as_json: bool) -> None:
    if as_json:
        write_json(made)
        return
    until = f", until {shown_time(made['expires_at'])}" if made["expires_at"] else ""
    tell(f"Key {made['key_id']} for {', '.join(made['scopes'])}{until}; it is not shown again:")
    write_line(made["api_key"])


def _status(key: Document) -> str:
    if key["revoked_at"] is not None:
        return "revoked"
    expires_at = key["expires_at"]
    if expires_at is not None and datetime.fromisoformat(expires_at) <= datetime.now(UTC):
        return "expired"
    return "valid"
