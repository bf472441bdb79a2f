# SPDX-License-Identifier: Apache-2.0
"""A checkpoint as ONNX under the published command, with the published input size, see `Lightweight_OpenPose.export`.

python scripts/convert_to_onnx.py --checkpoint-path model_best.pth --output-name human-pose-estimation.onnx
"""

from dataclasses import dataclass

import common.cli
from Lightweight_OpenPose import export


@dataclass(frozen=True)
class Config(export.Config):
    """Exports a checkpoint of Lightweight OpenPose as ONNX, by default for one image of 256 x 456."""

    batch_size: int = common.cli.flag("images at once; 0: any number", 1)
    height: int = common.cli.flag("height of the network's input, pixels; 0: any", 256)
    width: int = common.cli.flag("width of the network's input, pixels; 0: any", 456)


if __name__ == "__main__":
    common.cli.run(lambda: export.export_checkpoint(common.cli.parse(Config, {})))
