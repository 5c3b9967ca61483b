"""``freehold operators``: who operates this Freehold, and the audit log of what they did."""

from enum import StrEnum
from itertools import islice
from pathlib import Path
from typing import Annotated

import typer

from freehold_cli.command_groups import CommandGroup
from freehold_cli.confirmation import Confirm, require_confirmation
from freehold_cli.connection import managing
from freehold_cli.errors import ExitCode
from freehold_cli.files import STDOUT, writing
from freehold_cli.keys import ExpiresAt, ExpiresIn, announced, expiry_of
from freehold_cli.options import AsJson, parsed_times
from freehold_cli.output import (
    shown_size,
    shown_time,
    to_json,
    write_facts,
    write_json,
    write_json_line,
    write_list,
    write_message,
)
from freehold_cli.paged_table import Column, PagedTable
from freehold_cli.service import Document, Service

app = CommandGroup(
    no_args_is_help=True, help="List, make, rotate and revoke operators; read what they did."
)


class Role(StrEnum):
    """What an operator may do."""

    VIEWER = "viewer"
    OPERATOR = "operator"
    OWNER = "owner"


Name = Annotated[str, typer.Argument(help="The operator's name, such as jane.doe.")]
TokenFile = Annotated[
    Path | None,
    typer.Option(
        "--output",
        "-o",
        help="A new file for the token, for its owner alone. Left out: standard output.",
    ),
]


@app.command("me")
def me(as_json: AsJson = False) -> None:
    """Show who you are, and your role.

    Examples:
        freehold operators me
    """
    with managing(as_json=as_json) as manager:
        found = manager.get("me")
    if as_json:
        write_json(found)
    else:
        write_facts(found)


@app.command("list")
def list_(as_json: AsJson = False) -> None:
    """List operators, revoked ones too. No token is shown.

    Examples:
        freehold operators list
    """
    with managing(as_json=as_json) as manager:
        operators = manager.whole("operators")
    write_list(
        operators,
        {
            "operator": "name",
            "role": "role",
            "created": "created_at",
            "expires": "expires_at",
            "revoked": "revoked_at",
            "last used": "last_used_at",
        },
        as_json=as_json,
    )


@app.command("create")
def create(
    name: Name,
    role: Annotated[Role, typer.Option(help="What the operator may do.")],
    expires_at: ExpiresAt = None,
    expires_in: ExpiresIn = None,
    output: TokenFile = None,
    as_json: AsJson = False,
) -> None:
    """Make an operator and print the token. It is shown this once.

    Where it cannot be written, rotate it.

    Examples:
        freehold operators create jane.doe --role operator --expires-in 90d -o jane.token
    """
    wanted = {"name": name, "role": role.value, "expires_at": expiry_of(expires_at, expires_in)}
    with managing(as_json=as_json) as manager:
        _new_token(manager, "operators", wanted=wanted, output=output, as_json=as_json)


@app.command("rotate")
def rotate(
    name: Name,
    expires_at: ExpiresAt = None,
    expires_in: ExpiresIn = None,
    output: TokenFile = None,
    confirm: Confirm = None,
    as_json: AsJson = False,
) -> None:
    """Make a token in place of an operator's, which ends at once, and print it.

    The name must be typed again, since the old token's user is shut out.

    Examples:
        freehold operators rotate jane.doe -o jane.token
    """
    require_confirmation(name, confirm, f"end the token of {name}")
    wanted = {"expires_at": expiry_of(expires_at, expires_in)}
    with managing(as_json=as_json) as manager:
        path = ("operators", name, "rotate")
        _new_token(manager, *path, wanted=wanted, output=output, as_json=as_json)


@app.command("revoke")
def revoke(name: Name, confirm: Confirm = None, as_json: AsJson = False) -> None:
    """Revoke an operator, at once and for good. Again, nothing changes.

    Examples:
        freehold operators revoke jane.doe
    """
    require_confirmation(name, confirm, f"revoke {name}")
    with managing(as_json=as_json) as manager:
        manager.delete("operators", name, params={"confirm": name})
    if as_json:
        write_json({"name": name, "revoked": True})
        return
    write_message(f"{name} is revoked.")


@app.command("acts")
def acts(
    operator: Annotated[str | None, typer.Option(help="Only this operator's.")] = None,
    tenant: Annotated[str | None, typer.Option(help="Only about this tenant.")] = None,
    act: Annotated[str | None, typer.Option(help="Only of this kind, as restore_tenant.")] = None,
    since: Annotated[str | None, typer.Option("--from", help="Only of this time or later.")] = None,
    until: Annotated[str | None, typer.Option("--to", help="Only before this time.")] = None,
    limit: Annotated[int, typer.Option(min=1, help="How many entries at most.")] = 100,
    as_json: AsJson = False,
) -> None:
    """List what operators did, the newest entries first. With --json, one on each line.

    Examples:
        freehold operators acts --operator jane.doe
        freehold operators acts --tenant acme --from 2026-03-01T00:00:00Z --json
    """
    params = {
        "operator": operator,
        "tenant_id": tenant,
        "act": act,
        **parsed_times(**{"from": since, "to": until}),
    }
    table = PagedTable(
        Column("entry", lambda entry: entry["seq"], is_number=True),
        Column("at", lambda entry: shown_time(entry["recorded_at"])),
        Column("operator", lambda entry: entry["operator"]),
        Column("act", lambda entry: entry["act"]),
        Column("phase", lambda entry: entry["phase"]),
        Column("tenant", lambda entry: entry["tenant_id"]),
        Column("target", lambda entry: entry["target"]),
        Column("outcome", lambda entry: (entry["outcome"] or {}).get("status")),
        Column("from", lambda entry: entry["address"]),
    )
    with managing(as_json=as_json) as manager:
        pages = manager.pages("operator-acts", params=params | {"limit": min(limit, 1000)})
        found = list(islice((entry for page in pages for entry in page["data"]), limit))
    if as_json:
        for entry in found:
            write_json_line(entry)
        return
    table.write(found)
    table.end()


@app.command("export")
def export(
    output: Annotated[
        Path, typer.Option("--output", "-o", help="The file; - is standard output.")
    ] = Path("operator-acts.ndjson"),
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace a file that exists.")
    ] = False,
) -> None:
    """Download the whole audit log, with what its proof needs.

    Examples:
        freehold operators export -o acts-2026-03.ndjson
    """
    with (
        managing(as_json=False) as manager,
        writing(output, overwrite=overwrite) as stream,
        manager.failures(),
    ):
        size = manager.freehold.export_operator_acts(stream)
    write_message(f"{output if output != STDOUT else 'Written'}: {shown_size(size)}")


@app.command("verify")
def verify(as_json: AsJson = False) -> None:
    """Recompute the audit log's hash chain, and compare it with the head kept outside.

    Exits with 1 where anything does not fit.

    Examples:
        freehold operators verify
    """
    with managing(as_json=as_json) as manager:
        found = manager.get("operator-acts", "verify")
    if as_json:
        write_json(found)
    else:
        write_facts(found)
    if not found["ok"]:
        raise typer.Exit(ExitCode.REJECTED)


def _new_token(
    manager: Service, *path: str, wanted: Document, output: Path | None, as_json: bool
) -> None:
    """Have a token made, and write it where it goes; that is opened before."""
    with writing(output or STDOUT, overwrite=False) as stream:
        made = manager.post(*path, body=wanted)
        write_message(announced(made, f"The token of {made['name']}, {made['role']}"))
        text = to_json(made, indent=2) if as_json else made["token"]
        stream.write(f"{text}\n".encode())
