"""The commands as a user types them."""

from __future__ import annotations

import os
import subprocess
import sys

from dali_tokenmix import cli

BLOCK = """
import sys
class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name == {module!r} or name.startswith({module!r} + "."):
            raise ModuleNotFoundError(f"No module named {{name!r}}")
sys.meta_path.insert(0, Blocked())
from dali_tokenmix import cli
sys.exit(cli.main({arguments!r}))
"""


def shell(*arguments):
    command = [sys.executable, "-m", "dali_tokenmix.cli", *arguments]
    alone = os.environ | {"OMP_NUM_THREADS": "1"}  # on a busy machine torch's threads wait long for each other
    return subprocess.run(command, capture_output=True, text=True, timeout=120, env=alone)


def without(module, *arguments):
    """The command where a module is not installed."""
    code = BLOCK.format(module=module, arguments=list(arguments))
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)


def refused(capsys, *arguments):
    """The error line of a command that must fail."""
    try:
        code = cli.main(arguments)
    except SystemExit as error:
        code = error.code
    lines = capsys.readouterr().err.splitlines()
    assert code == 2
    assert [line.startswith("dali-tokenmix: error: ") for line in lines[-1:]] == [True]
    assert not any("Traceback" in line for line in lines)
    return lines[-1]
