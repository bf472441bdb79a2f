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

import common.runtime.export
import common.skeleton
import common.train.checkpoint
from common.cli import UserError, parse, run
from common.runtime.export import Ports
from common.train import published
from Lightweight_OpenPose import predict, weights
from Lightweight_OpenPose.config import DIRECTORY, flag
from Lightweight_OpenPose.model import PoseEstimationWithMobileNet

import torch
from torch import Tensor

INPUT = "data"
Shape = tuple[int, int, int]  # batch, height, width of the input; 0: any
TRIAL_SHAPES = ((2, 72, 96), (1, 61, 83))  # where dynamic; the second is no multiple of the stride


@dataclass(frozen=True)
class Config:
    """Exports a checkpoint of Lightweight OpenPose as ONNX."""

    checkpoint_path: str = flag("a file or a published name", "")
    output_name: str = flag("file to write", "human-pose-estimation.onnx")
    opset: int = flag("ONNX operator set; CANN's ATC takes 11 everywhere", 11, least=1, most=1000)
    batch_size: int = flag("images at once; 0: any number", 0, most=10**6)
    height: int = flag("of the network's input, pixels; 0: any", 0, most=16384)
    width: int = flag("of the network's input, pixels; 0: any", 0, most=16384)
    skeleton: str = flag("built-in name or YAML file of one's own keypoints", "openpose")

    def check(self) -> None:
        """Raises UserError where values cannot be meant."""
        if not self.checkpoint_path:
            raise UserError("--checkpoint_path is needed: a file, or one of " + published.names(DIRECTORY))
        common.runtime.export.check_opset(self.opset)


def main() -> None:
    """Reads the flags, exports, compares, says what was written."""
    export_checkpoint(parse(Config, {}))


def export_checkpoint(config: Config) -> None:
    """Exports what the flags ask for, and says what was written. Raises UserError as `export_onnx` does."""
    config.check()
    skeleton = common.skeleton.load(config.skeleton)
    source = weights.locate(config.checkpoint_path)
    target, shape = Path(config.output_name), (config.batch_size, config.height, config.width)
    content = common.train.checkpoint.read(source)
    network = weights.network_of(content, source, skeleton)
    difference = export_onnx(network, target, config.opset, shape, predict.metadata_of(skeleton, content))
    sizes = " x ".join(str(size or "any") for size in (shape[0], 3, *shape[1:]))
    ports = f"{INPUT} {sizes}, {target.stat().st_size / 1e6:.1f} MB"
    compared = f"largest difference to PyTorch {difference:.1e} of an output's maximum"
    print(f"{target}: opset {config.opset}, {ports}; {compared}")  # noqa: T201


def output_names(num_stages: int) -> list[str]:
    """The names of the outputs in the network's order, as published; the initial stage counts."""
    kinds = ("output_1_heatmaps", "output_0_pafs")
    return [f"stage_{stage}_{kind}" for stage in range(num_stages) for kind in kinds]


def export_onnx(
    model: PoseEstimationWithMobileNet,
    target: Path,
    opset: int,
    shape: Shape = (0, 0, 0),
    about: Mapping[str, Any] = {},
) -> float:
    """Writes `target` and returns its largest difference to PyTorch, see `common.runtime.export.export_onnx`."""
    names = output_names(1 + len(model.refinement_stages))
    words = {INPUT: ("batch", "height", "width"), **dict.fromkeys(names, ("batch", "map_height", "map_width"))}
    free = [(axis, place) for place, axis in enumerate((0, 2, 3)) if shape[place] == 0]
    axes = {name: {axis: words[name][place] for axis, place in free} for name in words}
    return common.runtime.export.export_onnx(model, target, opset, Ports([INPUT], names, axes), _trials(shape), about)


def _trials(shape: Shape) -> list[tuple[Tensor]]:
    """Two inputs of the network; of two sizes where it is dynamic."""
    random = torch.Generator().manual_seed(0)
    sizes = [[asked or free for asked, free in zip(shape, trial, strict=True)] for trial in TRIAL_SHAPES]
    return [(torch.rand(batch, 3, height, width, generator=random) - 0.5,) for batch, height, width in sizes]


if __name__ == "__main__":
    run(main)
