"""The commands of the shell. A new one is a module with HELP, add_arguments() and run(), and a line in COMMANDS."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from typing import NoReturn

from . import __version__
from .commands import demo, doctor, import_labels, make_labels

COMMANDS = {"demo": demo, "doctor": doctor, "import-labels": import_labels, "make-labels": make_labels}
MISTAKE, INTERRUPTED = 2, 130  # exit codes


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs a command and returns its exit code. A mistake is one line on stderr and exit code 2."""
    given = parser().parse_args(arguments)
    try:
        return int(COMMANDS[given.command].run(given))
    except KeyboardInterrupt:
        return INTERRUPTED
    except (ValueError, OSError, RuntimeError, ImportError) as error:
        print(_line(str(error) or type(error).__name__), file=sys.stderr)
        return MISTAKE


def parser() -> argparse.ArgumentParser:
    """The parser of all commands."""
    top = _Parser(prog="dali-tokenmix", description="TokenMix, CutMix and MixUp inside an NVIDIA DALI pipeline.")
    top.add_argument("--version", action="version", version=f"dali-tokenmix {__version__}")
    commands = top.add_subparsers(dest="command", metavar="command", required=True)
    for name, command in COMMANDS.items():
        command.add_arguments(commands.add_parser(name, help=command.HELP, description=command.__doc__))
    return top


class _Parser(argparse.ArgumentParser):
    """argparse in one line instead of usage and line."""

    def error(self, message: str) -> NoReturn:
        self.exit(MISTAKE, _line(f"{message}. '{self.prog} --help' lists what there is") + "\n")


def _line(message: str) -> str:
    return "dali-tokenmix: error: " + " ".join(message.split())


if __name__ == "__main__":
    sys.exit(main())
