"""Settings: what a service does not start with, and how it says so."""

import re
from pathlib import Path
from typing import Any

import pytest

from freehold.settings import PUBLIC_SECRETS, SettingsError
from freehold_ingest.settings import Settings

COMPOSE = Path(__file__).resolve().parents[2] / "docker-compose.yml"
EVERYWHERE = "0.0.0.0"  # noqa: S104 (nothing listens there)
SOUND = {
    "FREEHOLD_CATALOG_DSN": "postgresql://ingest:a-secret@postgres:5432/freehold_catalog",
    "FREEHOLD_CREDENTIAL_KEYS": "k1:" + "A" * 43 + "=",
    "FREEHOLD_AMQP_URL": "amqp://freehold:a-secret@rabbitmq:5672/",
}


def faults(**environment: str) -> list[str]:
    try:
        Settings.read(SOUND | environment)
    except SettingsError as error:
        return error.faults
    return []


@pytest.mark.parametrize(
    ("name", "value", "fault"),
    [
        ("REQUEST_TIMEOUT_S", "soon", "not 'soon'"),
        ("REQUEST_TIMEOUT_S", "inf", "finite"),
        # Postgres would refuse it as a timeout, and with it every connection.
        ("REQUEST_TIMEOUT_S", "3e6", "at most 2000000"),
        ("CONNECTION_IDLE_S", "1e300", "at most 1000000000"),
        ("CONNECTIONS_MAX", "9999999999", "at most"),
        ("PORT", "0", "greater than or equal to 1"),
        ("CREDENTIAL_KEYS", "k1:short", "id:base64 of 32 bytes"),
        ("CATALOG_DSN", "postgresql://a:hidden@b/c?sslmode=sure", "one of disable, allow"),
        ("CATALOG_DSN", "postgresql://a:hidden@b/c?sslmode=verify-full", "needs sslrootcert"),
        ("CATALOG_DSN", "postgresql://a:hidden@b/c?sslrootcert=/x", "without sslmode"),
        (
            "CATALOG_DSN",
            "postgresql://a:hidden@b/c?sslmode=verify-full&sslrootcert=/nowhere.pem",
            "there is no file /nowhere.pem",
        ),
        (
            "CATALOG_DSN",
            f"postgresql://a:hidden@b/c?sslmode=verify-ca&sslrootcert={__file__}",
            "the files of certificates cannot be used",
        ),
        ("CATALOG_DSN", "mysql://a:hidden@b/c", "postgresql://user:password@host:port/name"),
        ("CATALOG_DSN", "postgresql://a:hidden@b:99999/c", "host:port"),
        ("AMQP_URL", "http://a:hidden@b/", "amqp://user:password@host:port/name"),
        ("COLOUR", "red", "is not a setting of this service"),
    ],
)
def test_a_bad_value_is_named_and_no_secret_is(name: str, value: str, fault: str) -> None:
    (found,) = faults(**{f"FREEHOLD_{name}": value})
    assert found.startswith(f"FREEHOLD_{name}")
    assert fault in found
    assert "hidden" not in found
    assert "short" not in found


def test_all_faults_are_listed_at_once() -> None:
    assert len(faults(FREEHOLD_PORT="x", FREEHOLD_HEARTBEAT_S="-1", FREEHOLD_LOG_LEVEL="all")) == 3


def test_the_public_defaults_are_those_of_compose() -> None:
    defaults = set(re.findall(r"\$\{FREEHOLD_\w+:-([^}]*)\}", COMPOSE.read_text()))
    harmless = {text for text in defaults if text.isdecimal()} | {"info", "127.0.0.1"}
    assert defaults - harmless == PUBLIC_SECRETS


@pytest.mark.parametrize(
    "public",
    [
        {"FREEHOLD_CREDENTIAL_KEYS": "k1:ZnJlZWhvbGQtbG9jYWwtb25seS1ub3QtYS1zZWNyZXQ="},
        {"FREEHOLD_AMQP_URL": "amqp://freehold:local-only@rabbitmq:5672/"},
        {"FREEHOLD_CATALOG_DSN": "postgresql://freehold_ingest:local%2Donly@postgres/x"},
    ],
)
@pytest.mark.parametrize(
    ("changed", "is_refused"),
    [
        ({}, False),
        ({"FREEHOLD_HOST": "::1"}, False),
        ({"FREEHOLD_HOST": EVERYWHERE}, True),
        ({"FREEHOLD_HOST": "ledger.example"}, True),
        # In a container, whose ports are published on this machine alone, or for everybody.
        ({"FREEHOLD_HOST": EVERYWHERE, "FREEHOLD_PUBLISHED_HOST": "127.0.0.1"}, False),
        ({"FREEHOLD_HOST": EVERYWHERE, "FREEHOLD_PUBLISHED_HOST": EVERYWHERE}, True),
    ],
)
def test_public_defaults_stay_on_this_machine(
    public: dict[str, str], changed: dict[str, Any], is_refused: bool
) -> None:
    found = faults(**public, **changed)
    assert bool(found) == is_refused
    assert all(name in found[0] for name in public if is_refused)
    assert not is_refused or "local-only" not in found[0]
