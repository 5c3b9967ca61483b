"""What cannot be written is reported in one line, and leaves nothing half done."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from freehold_local.errors import StackError
from freehold_local.folders import write_whole


def test_output_to_a_full_disk_ends_with_one_line(tmp_path: Path) -> None:
    command = Path(sys.executable).with_name("freehold-local")
    with Path("/dev/full").open("wb") as full:
        ended = subprocess.run(
            [command, "status", "--state", tmp_path],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            timeout=60,
            check=False,
        )
    assert ended.returncode == 1
    (line,) = ended.stderr.splitlines()
    assert "No space left on device" in line


def test_a_file_that_cannot_be_written_leaves_the_old_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    file = tmp_path / "freehold.env"
    write_whole(file, "OLD=1\n", mode=0o600)
    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(StackError, match=r"freehold\.env cannot be written: No space left"):
        write_whole(file, "NEW=1\n", mode=0o600)
    assert file.read_text() == "OLD=1\n"
    assert list(tmp_path.iterdir()) == [file]
