"""Files of the stack's folder that a person has changed."""

from pathlib import Path

import pytest

from freehold_local.credentials import Credentials, keep_credentials, kept_credentials
from freehold_local.errors import StackError
from freehold_local.ports import remembered_ports
from freehold_local.rabbitmq import MNESIA_BASE, refuse_moved
from freehold_local.stack import Stack


def test_credentials_are_kept_as_they_are(tmp_path: Path) -> None:
    credentials = Credentials()
    keep_credentials(tmp_path / "secrets.json", credentials)
    assert kept_credentials(tmp_path / "secrets.json") == credentials


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{}",
        "null",
        '{"credential_keys": "k1:',
        '{"credential_keys": ""}',
        '{"credential_keys": "k1:x", "operator_token": 5}',
        '{"credential_keys": "k1:x", "another": "x"}',
    ],
)
def test_half_of_the_credentials_are_refused_and_left_alone(tmp_path: Path, text: str) -> None:
    file = tmp_path / "secrets.json"
    file.write_text(text)
    with pytest.raises(StackError, match=r"secrets.json cannot be read"):
        Stack(tmp_path, {}).up()
    assert file.read_text() == text


def test_data_without_its_credentials_is_refused(tmp_path: Path) -> None:
    (tmp_path / "postgres" / "data").mkdir(parents=True)
    with pytest.raises(StackError, match=r"secrets.json is missing"):
        Stack(tmp_path, {}).up()


def test_ports_that_cannot_be_read_are_named(tmp_path: Path) -> None:
    file = tmp_path / "ports.json"
    file.write_text('{"amqp": 25')
    with pytest.raises(StackError, match=r"ports.json cannot be read"):
        remembered_ports(file)


@pytest.mark.parametrize("made_in", ["/before/.local/rabbitmq/data/mnesia/node", MNESIA_BASE])
def test_queues_of_another_folder_are_refused(tmp_path: Path, made_in: str) -> None:
    queue = tmp_path / "data" / "mnesia" / "node" / "quorum" / "node" / "QUEUE"
    queue.mkdir(parents=True)
    # As Erlang writes a long text.
    half = len(made_in) // 2
    (queue / "config").write_text(
        f'#{{data_dir =>\n "{made_in[:half]}"\n "{made_in[half:]}",a => b}}'
    )
    if made_in == MNESIA_BASE:
        refuse_moved(tmp_path / "data")
    else:
        with pytest.raises(StackError, match=r"were made in /before/.local/rabbitmq/data and work"):
            refuse_moved(tmp_path / "data")


@pytest.mark.parametrize(
    "chosen",
    [{"FREEHOLD_AMQP_URL": "amqp://a:b@127.0.0.1/"}, {"FREEHOLD_OPERATOR_TOKEN": "theirs!"}],
)
def test_another_stacks_variables_in_the_shell_are_refused(
    tmp_path: Path, chosen: dict[str, str]
) -> None:
    shell = {"FREEHOLD_CATALOG_DSN": "postgresql://manager:secret@127.0.0.1/theirs", **chosen}
    with pytest.raises(
        StackError,
        match=r"freehold.env of another stack.*\
.*unset FREEHOLD_",
    ):
        Stack(tmp_path, shell).up()
