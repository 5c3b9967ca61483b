"""Prometheus's own tool, which judges metrics and rules."""

import shutil
import subprocess

import pytest


def promtool(*arguments: object, text: str | None = None) -> subprocess.CompletedProcess[str]:
    """Run it, with a text as its input; the test is skipped where it is missing."""
    program = shutil.which("promtool")
    if program is None:
        pytest.skip("promtool is missing: it is in Debian's package prometheus")
    return subprocess.run(
        [program, *map(str, arguments)],
        input=text,
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
