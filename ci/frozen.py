# SPDX-License-Identifier: Apache-2.0
"""The lists in ci/golden/: every flag of every program, and what the launchers would run.

python ci/frozen.py        rewrites them; the diff in git shows what a change does to users' commands
"""

import argparse
import contextlib
import importlib
import io
import os
import runpy
import subprocess
import sys
import warnings
from collections.abc import Iterator
from unittest import mock

from common import files

import project

GOLDEN = project.ROOT / "ci" / "golden"
LAUNCHER_FLAGS = ("--data_path=/data/coco", "--step=2", "--device_id=3", "--output_dir=/results", "--lr=1")


class _Parser(BaseException):
    """Carries a program's parser out of the program, past every `except`."""

    def __init__(self, parser: argparse.ArgumentParser) -> None:
        self.parser = parser


def programs() -> list[str]:
    """Modules of common/, tools/ and the model directories that run as programs."""
    return [name for name in project.program_sources() if '\nif __name__ == "__main__":' in project.text(name)]


def parser_of(program: str) -> argparse.ArgumentParser | None:
    """The parser that a program builds when it is started; None where it reads its words itself."""
    module = program.removesuffix(".py").replace("/", ".")

    def carry(parser: argparse.ArgumentParser, *_: object, **__: object) -> None:
        raise _Parser(parser)

    with (
        mock.patch.object(argparse.ArgumentParser, "parse_known_args", carry),
        mock.patch.object(sys, "argv", [module]),
        contextlib.redirect_stderr(io.StringIO()),
        warnings.catch_warnings(),
    ):
        warnings.simplefilter("ignore", RuntimeWarning)  # runpy's, about modules that were imported before
        try:
            runpy.run_module(module, run_name="__main__")
        except _Parser as caught:
            return caught.parser
        except SystemExit:
            return None
    return None


def flag_lines() -> Iterator[str]:
    """A program's name, then its flags with all their names and choices, one a line."""
    for program in programs():
        yield program
        parser = parser_of(program)
        if parser is None:
            yield f"  {importlib.import_module(program.removesuffix('.py').replace('/', '.')).USAGE}"
            continue
        for action in sorted(parser._actions, key=lambda action: action.option_strings or [action.dest]):
            names = "|".join(action.option_strings) or action.dest
            choices = f" {{{','.join(map(str, action.choices))}}}" if action.choices else ""
            yield f"  {names}{choices}"


def launcher_lines() -> Iterator[str]:
    """A launcher with its flags, then the command that it would run."""
    environment = {"PATH": os.environ["PATH"], "PYTHON": "python", "DRY_RUN": "1"}
    for launcher in project.launchers():
        yield f"{launcher} {' '.join(LAUNCHER_FLAGS)}"
        command = ["bash", str(project.ROOT / launcher), *LAUNCHER_FLAGS]
        run = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
        yield f"  {run.stdout.strip()}"


LISTS = {"flags.txt": flag_lines, "launchers.txt": launcher_lines}


def known_flags() -> dict[str, set[str]]:
    """Program -> the names of its flags, from the frozen list."""
    flags: dict[str, set[str]] = {}
    for line in (GOLDEN / "flags.txt").read_text().splitlines():
        if not line.startswith(" "):
            flags[line] = set()
        elif line.startswith("  -"):
            flags[list(flags)[-1]] |= set(line.split()[0].split("|"))
    return flags


def main() -> None:
    """Writes the lists."""
    for name, lines in LISTS.items():
        files.write_atomically(GOLDEN / name, "".join(f"{line}\n" for line in lines()).encode())
        print(GOLDEN / name)


if __name__ == "__main__":
    main()
