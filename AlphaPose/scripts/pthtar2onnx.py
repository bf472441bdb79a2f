# SPDX-License-Identifier: Apache-2.0
"""A trained network as ONNX under the published names; unlike the original's, with its trained weights.

    python scripts/pthtar2onnx.py --cfg=configs/coco/resnet/256x192_res50_lr1e-3_1x.yaml --checkpoint=model.pth

Writes ./alphapose_fastpose_npu.onnx; --batch_size=32 is the published, fixed batch. Without --checkpoint the best of
--exp_id is taken.
"""

from dataclasses import dataclass

import common.cli
from AlphaPose import export
from AlphaPose.config import RETIRED
from common.cli import flag

INPUT, OUTPUT = "preact.conv1", "conv_out"
NOT_OF_EXPORTS = ("nThreads", "snapshot", "seed", "amp", "loss_scale", "opt_level", "device")
UNUSED = RETIRED | dict.fromkeys(NOT_OF_EXPORTS, "an export does not train")


@dataclass(frozen=True)
class Config(export.Config):
    """Exports a checkpoint of AlphaPose as ONNX, under the published names."""

    output_name: str = flag("file to write", "alphapose_fastpose_npu.onnx")


def main() -> None:
    """The command of this script."""
    config = common.cli.parse(Config, {}, aliases=export.ALIASES, retired=UNUSED)
    export.export_checkpoint(config, (INPUT, OUTPUT))


if __name__ == "__main__":
    common.cli.run(main)
