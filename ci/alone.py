# SPDX-License-Identifier: Apache-2.0
"""Copies a model directory with what it needs beside it, and nothing else of the project, into an empty folder.

python ci/alone.py Lightweight_OpenPose /tmp/alone
"""

import shutil
import sys
from pathlib import Path

import project


def main(model: str, target: str) -> None:
    """The files that git keeps of the directory, of common/, and of the directory that it builds on."""
    kept = {"common", model, *project.BUILDS_ON.get(model, ())}
    for name in project.files():
        if name.split("/")[0] in kept:
            copy = Path(target, name)
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(project.ROOT / name, copy)


if __name__ == "__main__":
    main(*sys.argv[1:])
