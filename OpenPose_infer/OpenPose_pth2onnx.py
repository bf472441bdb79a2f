# SPDX-License-Identifier: Apache-2.0
"""A checkpoint -> ONNX, for ATC and every other runtime.

    python OpenPose_pth2onnx.py --checkpoint_path=./weights/checkpoint_iter_370000.pth \
        --output_name=./output/human-pose-estimation.onnx

Input `data`: any number x 3 x 368 x 640. The file is kept only where ONNX Runtime gives the same maps as PyTorch.
"""

import dataclasses
from dataclasses import dataclass

from common.cli import flag, parse, run
from Lightweight_OpenPose import export, weights
from OpenPose_infer.config import HEIGHT, WEIGHT_FOLDERS, WIDTH

WEIGHTS = "./weights/checkpoint_iter_370000.pth"


@dataclass(frozen=True)
class Config(export.Config):
    """Exports a checkpoint of Lightweight OpenPose as ONNX, for offline inference."""

    checkpoint_path: str = flag("a file or a published name", WEIGHTS)
    output_name: str = flag("file to write", "./output/human-pose-estimation.onnx")
    height: int = flag("height of the network's input, pixels; 0: any", HEIGHT, most=16384)
    width: int = flag("width of the network's input, pixels; 0: any", WIDTH, most=16384)


def main() -> None:
    """Reads the flags, exports, compares, prints what was written."""
    config = parse(Config, {})
    source = weights.locate_checkpoint(config.checkpoint_path, WEIGHT_FOLDERS)
    export.export_checkpoint(dataclasses.replace(config, checkpoint_path=str(source)))


if __name__ == "__main__":
    run(main)
