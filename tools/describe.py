# SPDX-License-Identifier: Apache-2.0
"""The metadata of an exported network: which one it is, its keypoints, how an image becomes its input.

python -m tools.describe pose.onnx
"""

import json
import sys
from collections.abc import Sequence
from pathlib import Path

from common import cli
from common.cli import UserError
from common.runtime import metadata

USAGE = "python -m tools.describe FILE"


def main(argv: Sequence[str] | None = None) -> None:
    """The command."""
    arguments = sys.argv[1:] if argv is None else argv
    if {"-h", "--help"} & set(arguments):
        print(f"usage: {USAGE}\n\n{__doc__}")  # noqa: T201
        return
    if len(arguments) != 1 or arguments[0].startswith("-"):
        raise UserError(f"name one file: {USAGE}")
    print(as_lines(Path(arguments[0])))  # noqa: T201  the program's answer


def as_lines(source: Path) -> str:
    """An entry a line. Raises UserError for a file that is missing, or says nothing."""
    if not source.is_file():
        raise UserError(f"{source}: no such file")
    if not (found := metadata.read(source)):
        raise UserError(f"{source}: says nothing of itself: export it again, with python -m DIRECTORY.export")
    skeleton = found.pop("skeleton", {})
    lines = {**found, **{name: skeleton.get(name) for name in ("keypoints", "limbs", "flip_pairs")}}
    lines["skeleton"] = skeleton.get("name")
    return "\n".join(cli.printable(f"{name:<10} {json.dumps(value)}") for name, value in lines.items())


if __name__ == "__main__":
    cli.run(main)
