# SPDX-License-Identifier: Apache-2.0
"""A checkpoint as ONNX, kept only when ONNX Runtime gives the same maps as PyTorch.

python -m Lightweight_OpenPose.export --checkpoint_path=model_best.pth --output_name=human-pose-estimation.onnx
python -m Lightweight_OpenPose.export --checkpoint_path=model_best.pth --batch_size=1 --height=368 --width=640

The network takes `data`, (B, 3, H, W) float32 BGR as (pixel - 128) / 256, and gives two outputs a stage, the best
last: `stage_<n>_output_1_heatmaps` (B, heatmaps, ceil(H / 8), ceil(W / 8)) and `stage_<n>_output_0_pafs` of that size.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import common.skeleton
import common.train.checkpoint
from common.bottomup.export import Shape, export_maps, summary
from common.cli import UserError, flag, parse, run
from common.runtime.export import check_opset
from common.train import published
from Lightweight_OpenPose import predict, weights
from Lightweight_OpenPose.config import DIRECTORY
from Lightweight_OpenPose.model import PoseEstimationWithMobileNet

INPUT = "data"


@dataclass(frozen=True)
class Config:
    """Exports a checkpoint of Lightweight OpenPose as ONNX."""

    checkpoint_path: str = flag("a file or a published name", "")
    output_name: str = flag("file to write", "human-pose-estimation.onnx")
    opset: int = flag("ONNX operator set; CANN's ATC takes 11 everywhere", 11, least=1, most=1000)
    batch_size: int = flag("images at once; 0: any number", 0, most=10**6)
    height: int = flag("height of the network's input, pixels; 0: any", 0, most=16384)
    width: int = flag("width of the network's input, pixels; 0: any", 0, most=16384)
    skeleton: str = flag("built-in name or YAML file of your own keypoints", "openpose")


def main() -> None:
    """Reads the flags, exports, compares, prints what was written."""
    export_checkpoint(parse(Config, {}))


def export_checkpoint(config: Config) -> None:
    """Exports as the flags say, and prints what was written. Raises UserError as `export_onnx` does."""
    if not config.checkpoint_path:
        raise UserError("--checkpoint_path is needed: a file, or one of " + published.names(DIRECTORY))
    check_opset(config.opset)
    skeleton = common.skeleton.load(config.skeleton)
    source = weights.locate_checkpoint(config.checkpoint_path)
    network, content = weights.load_network(source, skeleton), common.train.checkpoint.read(source)
    target, shape = Path(config.output_name), (config.batch_size, config.height, config.width)
    difference = export_onnx(network, target, config.opset, shape, predict.metadata_of(skeleton, content, shape[1:]))
    print(summary(target, config.opset, INPUT, shape, difference))  # noqa: T201


def export_onnx(
    model: PoseEstimationWithMobileNet,
    target: Path,
    opset: int,
    shape: Shape = (0, 0, 0),
    about: Mapping[str, Any] = {},
) -> float:
    """Writes `target` and returns its largest difference to PyTorch, see `common.runtime.export.export_onnx`."""
    kinds = ("output_1_heatmaps", "output_0_pafs")
    outputs = [f"stage_{stage}_{kind}" for stage in range(1 + len(model.refinement_stages)) for kind in kinds]
    return export_maps(model, target, opset, (INPUT, outputs), shape, about)


if __name__ == "__main__":
    run(main)
