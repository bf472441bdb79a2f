# SPDX-License-Identifier: Apache-2.0
"""A checkpoint as ONNX, kept only when ONNX Runtime gives the same maps as PyTorch.

python -m AlphaPose.export --checkpoint=fast_res50_256x192.pth --output_name=fast_pose.onnx
python -m AlphaPose.export --checkpoint=fast_res50_256x192.pth --batch_size=32

The network takes RGB crops as `data.normalise_batch` makes them, (B, 3, H, W) float32 of the config's size, and gives
heatmaps (B, num_joints, H / 4, W / 4).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import common.runtime.export
import common.train.checkpoint
from AlphaPose import weights
from AlphaPose.config import DEFAULT_CFG, MODEL_FOLDER, experiment_folder
from AlphaPose.model import build
from AlphaPose.predict import load_config, metadata_of
from common.cli import flag, parse, run
from common.runtime.export import Ports

import torch
from torch import Tensor, nn

INPUT, OUTPUT = "image", "output"
TRIAL_BATCHES = (2, 1)  # where any number goes


@dataclass(frozen=True)
class Config:
    """Exports a checkpoint of AlphaPose as ONNX."""

    cfg: str = flag("yaml config; what a checkpoint says of its own network wins over it", DEFAULT_CFG)
    checkpoint: str = flag("a file or a published name; empty: the best of --exp_id", "")
    output_name: str = flag("file to write", "alphapose_fastpose.onnx")
    opset: int = flag("ONNX operator set; CANN's ATC takes 11 everywhere", 11, least=1, most=1000)
    batch_size: int = flag("people at once; 0: any number", 0, most=10**6)
    exp_id: str = flag("checkpoints are in exp/<exp_id>-<name of --cfg>", "exp_test")
    output_dir: str = flag("folder of exp/", str(MODEL_FOLDER))
    skeleton: str = flag("built-in name or YAML file of your own keypoints; empty: the checkpoint's, or coco", "")

    def check(self) -> None:
        """Raises UserError where values cannot be meant."""
        common.runtime.export.check_opset(self.opset)


ALIASES = {"checkpoint_path": "checkpoint", "batch": "batch_size"}


def main() -> None:
    """Reads the flags, exports, compares, says what was written."""
    export_checkpoint(parse(Config, {}, aliases=ALIASES))


def export_checkpoint(config: Config, input_name: str = INPUT, output_name: str = OUTPUT) -> None:
    """Exports what the flags ask for, and says what was written. Raises UserError as `export_onnx` does."""
    config.check()
    folder = experiment_folder(config.output_dir, config.exp_id, config.cfg)
    source = weights.checkpoint_of(config.checkpoint, folder)
    trained = load_config(config.cfg, source, skeleton=config.skeleton)
    model = weights.load_network(build(trained.yaml.MODEL, trained.load_skeleton().num_keypoints), source)
    size, target = trained.size_in, Path(config.output_name)
    about = metadata_of(trained, common.train.checkpoint.read(source))
    difference = export_onnx(model, target, config.opset, size, config.batch_size, (input_name, output_name), about)
    sizes = f"{config.batch_size or 'any'} x 3 x {size[0]} x {size[1]}"
    megabytes = target.stat().st_size / 1e6
    print(  # noqa: T201
        f"{target}: {trained.yaml.MODEL.TYPE} of {source}, opset {config.opset}, {input_name} {sizes}, "
        f"{megabytes:.1f} MB; largest difference to PyTorch {difference:.1e} of an output's maximum"
    )


def export_onnx(
    model: nn.Module,
    target: Path,
    opset: int,
    size_in: tuple[int, int],
    batch_size: int = 0,
    names: tuple[str, str] = (INPUT, OUTPUT),
    about: Mapping[str, Any] = {},
) -> float:
    """Writes `target` and returns its largest difference to PyTorch, see `common.runtime.export.export_onnx`.

    `size_in`: height, width of the input; `batch_size` 0: any.
    """
    free = {} if batch_size else {name: {0: "batch"} for name in names}
    random = torch.Generator().manual_seed(0)
    batches = (batch_size,) if batch_size else TRIAL_BATCHES
    trials: list[tuple[Tensor, ...]] = [(torch.rand(batch, 3, *size_in, generator=random) - 0.5,) for batch in batches]
    return common.runtime.export.export_onnx(model, target, opset, Ports(names[:1], names[1:], free), trials, about)


if __name__ == "__main__":
    run(main)
