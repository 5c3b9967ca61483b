"""Downloads: a path gets its file only when it is whole."""

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from freehold_client import NoAnswerError, NotFound
from support.scripted_client import API_KEY, OPERATOR_TOKEN, Pieces, Script, given, problem

NewClient = Callable[[Script], Any]


def names(folder: Path) -> list[str]:
    return [file.name for file in folder.iterdir()]


def whole(*pieces: bytes) -> httpx.Response:
    return httpx.Response(200, stream=Pieces(*pieces))


async def test_an_export_becomes_a_file(new_client: NewClient, tmp_path: Path) -> None:
    script = Script([problem("overloaded", 503), whole(b"SELECT ", b"1;\n")])

    size = await given(new_client(script).export_ledger(tmp_path / "acme.sql", "acme"))

    assert size == 10
    assert (tmp_path / "acme.sql").read_bytes() == b"SELECT 1;\n"
    assert names(tmp_path) == ["acme.sql"]
    assert script.asked[1].headers["authorization"] == f"Bearer {OPERATOR_TOKEN}"


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (httpx.Response(200, stream=Pieces(b"SELECT ", cut=True)), NoAnswerError),
        (problem("not-found", 404), NotFound),
    ],
)
async def test_what_is_not_whole_is_not_kept(
    new_client: NewClient, tmp_path: Path, answer: httpx.Response, error: type[Exception]
) -> None:
    (tmp_path / "ledger.sql").write_bytes(b"that of yesterday")

    with pytest.raises(error):
        await given(new_client(Script([answer])).export_own_ledger(tmp_path / "ledger.sql"))

    assert (tmp_path / "ledger.sql").read_bytes() == b"that of yesterday"
    assert names(tmp_path) == ["ledger.sql"]


async def test_an_open_file_is_written_to(new_client: NewClient) -> None:
    script = Script([whole(b"%PDF")])
    file = io.BytesIO()

    call = new_client(script).save_statement(file, "cus_42", currency="USD", file_format="pdf")

    assert (await given(call), file.getvalue()) == (4, b"%PDF")
    assert script.asked[0].headers["accept"] == "application/pdf"
    assert script.asked[0].headers["authorization"] == f"Bearer {API_KEY}"
    assert dict(script.asked[0].url.params) == {"currency": "USD"}
