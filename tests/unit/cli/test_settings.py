"""Settings of the command line: from the environment, else from the stack of this folder."""

import subprocess
import sys
from pathlib import Path

import pytest

from freehold_cli.errors import CliError, ExitCode
from freehold_cli.settings import Settings

TOKEN = "a token's 'quotes'"


@pytest.fixture(autouse=True)
def stack(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a stack of its own, and an environment without settings."""
    for name in ("TENANT_MANAGER_URL", "INGEST_URL", "QUERY_URL", "PROJECTOR_URL"):
        monkeypatch.delenv(f"FREEHOLD_{name}", raising=False)
    for name in ("API_KEY", "OPERATOR_TOKEN", "OPERATOR_TOKEN_FILE"):
        monkeypatch.delenv(f"FREEHOLD_{name}", raising=False)
    monkeypatch.chdir(tmp_path)
    file = tmp_path / ".local/freehold.env"
    file.parent.mkdir()
    file.write_text(
        "# How to reach the stack.\n\n"
        "FREEHOLD_QUERY_URL='http://127.0.0.1:9082'\n"
        "FREEHOLD_OPERATOR_TOKEN='a token'\"'\"'s '\"'\"'quotes'\"'\"\n"
        "FREEHOLD_CATALOG_DSN='of no interest'\n"
    )
    return file


def test_the_stack_of_this_folder_is_found() -> None:
    settings = Settings.from_environment()
    assert settings.query_url == "http://127.0.0.1:9082"
    assert settings.token() == TOKEN
    assert settings.service_urls() == {
        "tenant-manager": None,
        "ingest": None,
        "query": "http://127.0.0.1:9082",
        "projector": None,
    }


def test_its_token_is_not_shown_to_anybody_elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FREEHOLD_INGEST_URL", "https://ingest.example.com/")
    settings = Settings.from_environment()
    assert settings.ingest_url == "https://ingest.example.com"
    assert settings.token() is None


def test_the_environment_comes_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FREEHOLD_OPERATOR_TOKEN", "another")
    monkeypatch.setenv("FREEHOLD_API_KEY", "")
    settings = Settings.from_environment()
    assert (settings.token(), settings.key()) == ("another", None)
    assert "another" not in repr(settings)


def test_without_any_address_those_of_this_machine_belong_together(stack: Path) -> None:
    stack.unlink()
    settings = Settings.from_environment()
    assert settings.token() is None
    assert settings.service_urls() == {
        "tenant-manager": "http://127.0.0.1:8080",
        "ingest": "http://127.0.0.1:8081",
        "query": "http://127.0.0.1:8082",
        "projector": "http://127.0.0.1:8083",
    }


def test_a_secret_may_be_in_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "secret").write_text("from-a-file\n")
    monkeypatch.setenv("FREEHOLD_INGEST_URL", "http://127.0.0.1:1")
    monkeypatch.setenv("FREEHOLD_OPERATOR_TOKEN_FILE", str(tmp_path / "secret"))
    settings = Settings.from_environment()
    assert (settings.token(), settings.key(tmp_path / "secret")) == ("from-a-file",) * 2
    with pytest.raises(CliError, match="cannot be read as a key") as refused:
        settings.key(tmp_path / "nothing")
    assert refused.value.exit_code is ExitCode.USAGE


@pytest.mark.parametrize("url", ["ftp://somewhere", "127.0.0.1:8080", "http://"])
def test_an_address_that_is_none_is_refused(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FREEHOLD_QUERY_URL", url)
    with pytest.raises(CliError, match="FREEHOLD_QUERY_URL is to look like") as refused:
        Settings.from_environment()
    assert refused.value.exit_code is ExitCode.USAGE


def test_what_asks_servers_is_loaded_only_when_one_is_asked() -> None:
    code = "import sys, freehold_cli.__main__; print('httpx' in sys.modules)"
    loaded = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    )
    assert loaded.stdout == "False\n"
