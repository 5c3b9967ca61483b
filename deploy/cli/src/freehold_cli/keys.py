"""``freehold keys``: the API keys of a tenant."""

import re
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated

import typer

from freehold.security.api_keys import Scope
from freehold_cli.command_groups import CommandGroup
from freehold_cli.confirmation import Confirm, require_confirmation
from freehold_cli.connection import managing
from freehold_cli.errors import CliError, ExitCode
from freehold_cli.key_delivery import KeyFile, delivering
from freehold_cli.options import AsJson, TenantId, parsed_time
from freehold_cli.output import shown_time, write_json, write_list, write_message
from freehold_cli.service import Document
from freehold_cli.settings import Settings

app = CommandGroup(
    no_args_is_help=True, help="Make, list, label, rotate and revoke a tenant's API keys."
)

_SPAN = re.compile(r"([0-9]{1,6})([smhd])", re.ASCII)
_UNITS_S = {"s": 1, "m": 60, "h": 3600, "d": 86_400}


def parsed_span(text: str) -> int:
    """Convert a span of time such as 90s, 15m, 12h or 30d to seconds.

    Raises:
        typer.BadParameter: The text is no span of time.
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
        list[Scope] | None, typer.Option(help="What the key may be used for. Repeat it for more.")
    ] = None,
    label: Annotated[
        str | None, typer.Option(help="A name for people, such as what uses the key.")
    ] = None,
    expires_at: ExpiresAt = None,
    expires_in: ExpiresIn = None,
    output: KeyFile = None,
    as_json: AsJson = False,
) -> None:
    """Make an API key and print it. It is shown this once.

    If it cannot be written, it is revoked at once.

    Examples:
        freehold keys create acme --scope ingest --label "web shop" > shop.key
        freehold keys create acme --scope read --scope audit --expires-in 30d -o auditor.key
    """
    if not scope:
        scopes = ", ".join(f"--scope {each}" for each in Scope)
        raise CliError(f"Say what the key may be used for: {scopes}.", ExitCode.USAGE)
    wanted: Document = {
        "scopes": list(dict.fromkeys(scope)),
        "expires_at": expiry_of(expires_at, expires_in),
        "label": label,
    }
    with (
        managing(as_json=as_json) as manager,
        delivering(manager, tenant, output, as_json=as_json) as deliver,
    ):
        made = manager.post("tenants", tenant, "api-keys", body=wanted)
        _write_made(made, output, as_json=as_json)
        deliver(made)


@app.command("list")
def list_(tenant: TenantId, as_json: AsJson = False) -> None:
    """List a tenant's API keys with their labels, revoked ones too. No secret is shown.

    Examples:
        freehold keys list acme
    """
    with managing(as_json=as_json) as manager:
        keys = manager.whole("tenants", tenant, "api-keys")
    write_list(
        keys,
        {
            "key": "key_id",
            "label": "label",
            "scopes": lambda key: " ".join(key["scopes"]),
            "status": _status,
            "created": "created_at",
            "expires": "expires_at",
            "revoked": "revoked_at",
        },
        as_json=as_json,
    )


@app.command("label")
def label_(
    tenant: TenantId,
    key: KeyId,
    label: Annotated[str | None, typer.Argument(help="The new label. Left out: none.")] = None,
    as_json: AsJson = False,
) -> None:
    """Set or remove the label of an API key.

    Examples:
        freehold keys label acme 0123456789abcdef "web shop"
    """
    with managing(as_json=as_json) as manager:
        found = manager.put("tenants", tenant, "api-keys", key, "label", body={"label": label})
    if as_json:
        write_json(found)
        return
    said = "has no label" if label is None else f"has the label {label}"
    write_message(f"The key {key} of {tenant} {said}.")


@app.command("revoke")
def revoke(tenant: TenantId, key: KeyId, confirm: Confirm = None, as_json: AsJson = False) -> None:
    """Revoke an API key, at once and for good. Again, nothing changes.

    Its id must be typed again, since its user is shut out.

    Examples:
        freehold keys revoke acme 0123456789abcdef
    """
    require_confirmation(key, confirm, f"revoke the key {key} of {tenant}")
    with managing(as_json=as_json) as manager:
        manager.delete("tenants", tenant, "api-keys", key)
    if as_json:
        write_json({"key_id": key, "revoked": True})
        return
    write_message(f"The key {key} of {tenant} is revoked.")


@app.command("rotate")
def rotate(
    tenant: TenantId,
    key: KeyId,
    overlap: Annotated[
        str, typer.Option(metavar="SPAN", help="How long the old key goes on working.")
    ] = "1h",
    expires_at: ExpiresAt = None,
    expires_in: ExpiresIn = None,
    output: KeyFile = None,
    confirm: Confirm = None,
    as_json: AsJson = False,
) -> None:
    """Make a key of the same scopes and label and print it; the old one works on for a while.

    If the new one cannot be written, it is revoked at once, and the old one ends all the same.
    Without an overlap, the old one's id must be typed again.

    Examples:
        freehold keys rotate acme 0123456789abcdef --overlap 24h -o shop.key
    """
    wanted = {"overlap_s": parsed_span(overlap), "expires_at": expiry_of(expires_at, expires_in)}
    if not wanted["overlap_s"]:
        require_confirmation(key, confirm, f"end the key {key} of {tenant} at once")
    with (
        managing(as_json=as_json) as manager,
        delivering(manager, tenant, output, as_json=as_json) as deliver,
    ):
        made = manager.post("tenants", tenant, "api-keys", key, "rotate", body=wanted)
        write_message(f"The key {key} works until {shown_time(made['replaced']['expires_at'])}.")
        _write_made(made, output, as_json=as_json)
        deliver(made)


@app.command("sign-in-link")
def sign_in_link(
    tenant: TenantId,
    key: KeyId,
    expires_in: Annotated[
        str, typer.Option(metavar="SPAN", help="How long the link can be used.")
    ] = "15m",
    as_json: AsJson = False,
) -> None:
    """Print a link that signs a person in to the tenant's console, once.

    They see what the key may read. The session ends with the key.

    Examples:
        freehold keys sign-in-link acme 0123456789abcdef
    """
    wanted = {"expires_in_s": parsed_span(expires_in)}
    with managing(as_json=as_json) as manager:
        link = manager.post("tenants", tenant, "api-keys", key, "sign-in-links", body=wanted)
    url = f"{Settings().query_url}{link['path']}"
    if as_json:
        write_json({**link, "url": url})
        return
    write_message(f"It signs one person in, until {shown_time(link['expires_at'])}.")
    typer.echo(url)


def expiry_of(at: str | None, span: str | None) -> str | None:
    """Give the time at which a credential is to end, by the time or by the span from now.

    Raises:
        typer.BadParameter: Both are given, or one is none.
    """
    if at is not None and span is not None:
        raise typer.BadParameter("give --expires-at or --expires-in, and not both")
    if span is not None:
        return (datetime.now(UTC) + timedelta(seconds=parsed_span(span))).isoformat()
    return None if at is None else parsed_time(at)


def announced(made: Document, what: str) -> str:
    """Say what credential was made, until when it works, and that it is shown once."""
    until = f", until {shown_time(made['expires_at'])}" if made["expires_at"] else ""
    return f"{what}{until}; not shown again."


def _write_made(made: Document, output: Path | None, *, as_json: bool) -> None:
    if as_json:
        return
    where = "" if output is None else f" It goes to {output}."
    said = announced(made, f"Key {made['key_id']} for {', '.join(made['scopes'])}")
    write_message(f"{said}{where}")


def _status(key: Document) -> str:
    if key["revoked_at"] is not None:
        return "revoked"
    expires_at = key["expires_at"]
    if expires_at is not None and datetime.fromisoformat(expires_at) <= datetime.now(UTC):
        return "expired"
    return "valid"
