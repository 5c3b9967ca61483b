"""Ports of stacks that are started at the same time."""

import random
import subprocess
import sys

import pytest

from freehold_local import ports
from freehold_local.errors import StackError

# Outside of those that stacks choose from, and by chance: the suite may run twice at a time.
_STARTS = random.sample(range(10_000, 19_990), 1_000)
FEW = next(
    few for few in (range(start, start + 4) for start in _STARTS) if all(map(ports.is_free, few))
)
CHOOSE = f"""
from freehold_local import ports
ports.SPARE_PORTS = range({FEW.start}, {FEW.stop})
print(ports.free_port())
"""


def test_a_port_is_given_once_although_nothing_listens_there_yet(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(ports, "SPARE_PORTS", FEW)
    given = [ports.free_port()]
    other = _choose_elsewhere()
    # The other process has ended, and its claim with it.
    assert other.returncode == 0
    assert int(other.stdout) not in given
    given += [ports.free_port() for _ in range(len(FEW) - 1)]
    assert sorted(given) == list(FEW)
    with pytest.raises(StackError, match="No free port"):
        ports.free_port()
    assert "No free port" in _choose_elsewhere().stderr


def _choose_elsewhere() -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", CHOOSE], capture_output=True, text=True, timeout=60, check=False
    )
