"""The examples of these pages are run by the tests, top to bottom, each page in an empty directory."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from sybil import Example, Sybil
from sybil.parsers.myst import CodeBlockParser, PythonCodeBlockParser

ROOT = Path(__file__).resolve().parent.parent


def run_shell(example: Example) -> str | None:
    """Run a block of shell commands as a reader would paste it; `python` is the one that runs the tests."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    environment = {**os.environ, "PATH": path, "PYTHONPATH": str(ROOT), "NO_COLOR": "1"}
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", example.parsed],
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
    )
    return None if done.returncode == 0 else f"exit code {done.returncode}\n{done.stderr}"


@pytest.fixture(scope="module")
def empty_directory(tmp_path_factory):
    """Where a page's examples run: what it writes, later examples of the page find."""
    before = Path.cwd()
    os.chdir(tmp_path_factory.mktemp("docs"))
    yield
    os.chdir(before)


pytest_collect_file = Sybil(
    parsers=[CodeBlockParser(language="sh", evaluator=run_shell), PythonCodeBlockParser()],
    patterns=["*.md"],
    fixtures=["empty_directory"],
).pytest()
