# SPDX-License-Identifier: Apache-2.0
"""Published weights: which there are, fetched before a machine goes offline, and whether those here are whole.

    python -m tools.weights list
    python -m tools.weights fetch fast_res50_256x192.pth resnet50-0676ba61.pth
    python -m tools.weights verify

POSE_ZOO_HOME and POSE_ZOO_MIRROR (a folder or address) say where files are kept and taken from, see docs/weights.md.
"""

import importlib
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from common import cli
from common.cli import UserError
from common.train import published
from common.train.checkpoint import CheckpointError
from common.train.published import IMAGENET, Published

USAGE = "python -m tools.weights list | fetch NAME ... | verify [NAME ...]"


def main(argv: Sequence[str] | None = None) -> None:
    """The command. Exit code 1 where a file that is here is not the published one."""
    command, *names = (sys.argv[1:] if argv is None else list(argv)) or [""]
    if {"-h", "--help"} & {command, *names}:
        say(f"usage: {USAGE}\n\n{__doc__}")
        return
    if command not in ("list", "fetch", "verify") or (command == "fetch") > bool(names):
        raise UserError(f"type {USAGE}")
    table = published.table()
    if unknown := [name for name in names if name not in table]:
        raise UserError(f"{unknown[0]}: not one of the published {', '.join(table)}")
    chosen = [table[name] for name in names] or list(table.values())
    if command == "list":
        say(f"{'name':<36}{'directory':<26}{'AP':<7}{'here':<6}{'licence':<26}protocol")
        for one in chosen:
            ap, here = "" if one.ap is None else f"{one.ap:.3f}", "yes" if list(places(one)) else "no"
            say(f"{one.name:<36}{one.network:<26}{ap:<7}{here:<6}{one.licence:<26}{one.protocol}")
    elif command == "fetch":
        for one in chosen:
            say(f"{published.locate(one.name, one.network, folders(one.network))}")
    elif sum(not verified(one, path) for one in chosen for path in places(one)):
        sys.exit(1)


def say(line: str) -> None:
    """Prints a line, the answer of this program."""
    print(line.rstrip(), flush=True)  # noqa: T201


def folders(network: str) -> tuple[Path, ...]:
    """Where a directory looks for weights first."""
    if network == IMAGENET:
        return folders("AlphaPose") + folders("MIPNet")
    found: tuple[Path, ...] = importlib.import_module(f"{network}.weights").WEIGHT_FOLDERS
    return found


def places(one: Published) -> Iterator[Path]:
    """The files of that name that programs would find."""
    for folder in (*folders(one.network), published.home()):
        if (folder / one.name).is_file():
            yield folder / one.name


def verified(one: Published, path: Path) -> bool:
    """Says in a line whether a file is the published one, as far as that is known."""
    try:
        one.check(path)
    except (OSError, CheckpointError) as error:
        say(f"wrong  {path}: {error}")
        return False
    known = "sum" if one.sha256 else "kind and size: no sum is published"
    say(f"ok     {path} ({known})")
    return True


if __name__ == "__main__":
    cli.run(main)
