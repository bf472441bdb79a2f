# SPDX-License-Identifier: Apache-2.0
"""Cases of the golden .npz files: arrays named `<case>/<array>`."""

from pathlib import Path

import numpy as np

IMAGE_IDS = (370162, 227000, 790, 256353, 129648, 544238)  # of annotations.json


def folder(shared: Path) -> Path:
    return shared / "golden" / "openpose_mindspore"


def case(shared: Path, file: str, key: int) -> dict[str, np.ndarray]:
    """The arrays of one case by their names."""
    with np.load(folder(shared) / file) as arrays:
        return {name.split("/")[1]: arrays[name] for name in arrays.files if name.split("/")[0] == str(key)}
