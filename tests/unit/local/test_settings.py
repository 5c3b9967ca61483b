"""What a person sets for the whole stack reaches the services that know it, or is refused."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from freehold.settings import EXIT_REFUSED
from freehold_local.credentials import Credentials
from freehold_local.errors import StackError
from freehold_local.programs import inherited_environment, write_script
from freehold_local.services import service_environments, service_script
from freehold_local.settings import SERVICE_SETTINGS, USUAL_PORTS, Settings, read_settings


def read(**environment: str) -> Settings:
    return read_settings(environment, private_amqp_password=None)


def environments(settings: Settings) -> dict[str, dict[str, str]]:
    return service_environments(
        settings,
        Credentials(),
        USUAL_PORTS,
        state=Path("/nowhere"),
        postgres_url="postgresql://manager:secret@127.0.0.1:5432/postgres",
        amqp_url="amqp://user:secret@127.0.0.1:5672/",
    )


def test_a_setting_reaches_the_services_that_know_it_and_no_other() -> None:
    env_of = environments(
        read(
            FREEHOLD_POOL_SIZE="64",
            FREEHOLD_CONNECTIONS_MAX="7",
            FREEHOLD_REQUEST_TIMEOUT_S="20",
            FREEHOLD_STORAGE_URL="s3://bucket/prefix",
            FREEHOLD_PREFETCH="",
        )
    )
    who_has = {
        (name, value): {service for service in env_of if env_of[service].get(name) == value}
        for name, value in {
            "FREEHOLD_POOL_SIZE": "64",
            "FREEHOLD_CONNECTIONS_MAX": "7",
            "FREEHOLD_REQUEST_TIMEOUT_S": "20",
            "FREEHOLD_STORAGE_URL": "s3://bucket/prefix",
        }.items()
    }
    assert list(who_has.values()) == [
        {"tenant-manager"},
        {"ingest", "projector", "query"},
        {"tenant-manager", "ingest", "projector", "query"},
        {"tenant-manager"},
    ]
    assert "FREEHOLD_PREFETCH" not in env_of["projector"]


@pytest.mark.parametrize("service", SERVICE_SETTINGS)
def test_a_service_reads_its_environment_without_faults(service: str, tmp_path: Path) -> None:
    env_of = environments(read(FREEHOLD_LOG_FORMAT="json", FREEHOLD_SHUTDOWN_TIMEOUT_S="soon"))
    script = tmp_path / service
    write_script(script, service_script(service, tmp_path, env_of[service]), None)
    ended = subprocess.run(
        [script],
        check=False,
        env=inherited_environment(),
        capture_output=True,
        text=True,
        timeout=30,
    )
    assert ended.returncode == EXIT_REFUSED
    assert re.findall("FREEHOLD_[A-Z_]+", ended.stderr) == ["FREEHOLD_SHUTDOWN_TIMEOUT_S"]


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("FREEHOLD_POOL_SIZ", "no service has such a setting"),
        ("FREEHOLD_CREDENTIAL_KEYS", "the stack makes its own"),
    ],
)
def test_a_setting_that_no_program_reads_is_refused_by_name(name: str, why: str) -> None:
    with pytest.raises(StackError, match=f"{name} cannot be set here: {why}"):
        read(**{name: "64"})


def test_the_command_says_so_before_it_starts_anything(tmp_path: Path) -> None:
    ended = subprocess.run(
        [Path(sys.executable).with_name("freehold-local"), "up", "--state", tmp_path / "state"],
        check=False,
        env=inherited_environment() | {"FREEHOLD_POOL_SIZ": "64"},
        capture_output=True,
        text=True,
        timeout=30,
    )
    assert ended.returncode == 1
    assert "FREEHOLD_POOL_SIZ cannot be set here" in ended.stderr
    assert not (tmp_path / "state" / "services").exists()


def test_a_shell_with_a_stacks_variables_can_start_it() -> None:
    settings = read(
        FREEHOLD_TENANT_MANAGER_URL="http://127.0.0.1:8080",
        FREEHOLD_CATALOG_DSN="postgresql://of-another-stack/",
        FREEHOLD_API_KEY="fh_x",
        FREEHOLD_TEST_SERVERS="local",
        FREEHOLD_INGEST_PORT="9081",
    )
    assert settings.ports["ingest"] == 9081
    assert not any(settings.for_services.values())
