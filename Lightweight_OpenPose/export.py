# SPDX-License-Identifier: Apache-2.0
"""A checkpoint as ONNX, kept only when ONNX Runtime gives the same maps as PyTorch (spec A9.3, platform.md 6.1).

python -m Lightweight_OpenPose.export --checkpoint_path=model_best.pth --output_name=human-pose-estimation.onnx
python -m Lightweight_OpenPose.export --checkpoint_path=model_best.pth --batch_size=1 --height=368 --width=640

The network takes `data`, (B, 3, H, W) float32 BGR as (pixel - 128) / 256, and gives two outputs a stage, the best
last: `stage_<n>_output_1_heatmaps` (B, heatmaps, ceil(H / 8), ceil(W / 8)) and `stage_<n>_output_0_pafs` of that size.
"""

import os
import tempfile
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import common.checkpoint
import common.skeleton
from common.cli import UserError, parse, run
from Lightweight_OpenPose import weights
from Lightweight_OpenPose.config import PUBLISHED, WEIGHT_FOLDERS, text
from Lightweight_OpenPose.model import PoseEstimationWithMobileNet

import numpy as np
import torch
from torch import Tensor

INPUT = "data"
OPSETS = range(9, 21)  # that torch writes through TorchScript; its newer exporter writes 18 whatever is asked
LAST_OPSET_OF_CANN, LARGEST_IR_OF_CANN = 18, 8  # CANN's ATC reads no newer file
TOLERANCE = 1e-4  # part of an output's largest value
Shape = tuple[int, int, int]  # batch, height, width of the input; 0: any
TRIAL_SHAPES = ((2, 72, 96), (1, 61, 83))  # where dynamic; the second is no multiple of the stride


@dataclass(frozen=True)
class Config:
    """Exports a checkpoint of Lightweight OpenPose as ONNX."""

    checkpoint_path: str = text("a file or a published name", "")
    output_name: str = text("file to write", "human-pose-estimation.onnx")
    opset: int = text("ONNX operator set; CANN's ATC takes 11 everywhere", 11)
    batch_size: int = text("images at once; 0: any number", 0)
    height: int = text("of the network's input, pixels; 0: any", 0)
    width: int = text("of the network's input, pixels; 0: any", 0)
    skeleton: str = text("built-in name or YAML file of one's own keypoints", "openpose")

    def check(self) -> None:
        """Raises UserError where values cannot be meant."""
        if not self.checkpoint_path:
            raise UserError("--checkpoint_path is needed: a file, or one of " + ", ".join(PUBLISHED))
        if self.opset not in OPSETS:
            raise UserError(f"--opset={self.opset}: choose {OPSETS[0]} to {OPSETS[-1]}")
        if min(self.batch_size, self.height, self.width) < 0:
            raise UserError("--batch_size, --height and --width: positive numbers, or 0 for any")


def main() -> None:
    """Reads the flags, exports, compares, says what was written."""
    export_checkpoint(parse(Config, {}))


def export_checkpoint(config: Config) -> None:
    """Exports what the flags ask for, and says what was written. Raises UserError as `export_onnx` does."""
    config.check()
    skeleton = common.skeleton.load(config.skeleton)
    source = common.checkpoint.locate(config.checkpoint_path, PUBLISHED, WEIGHT_FOLDERS)
    target, shape = Path(config.output_name), (config.batch_size, config.height, config.width)
    difference = export_onnx(weights.load_network(source, skeleton), target, config.opset, shape)
    sizes = " x ".join(str(size or "any") for size in (shape[0], 3, *shape[1:]))
    print(f"{target}: opset {config.opset}, {INPUT} {sizes}, {target.stat().st_size / 1e6:.1f} MB; "  # noqa: T201
          f"largest difference to PyTorch {difference:.1e} of an output's maximum")  # fmt: skip


def output_names(num_stages: int) -> list[str]:
    """The names of the outputs in the network's order, as published; the initial stage counts."""
    kinds = ("output_1_heatmaps", "output_0_pafs")
    return [f"stage_{stage}_{kind}" for stage in range(num_stages) for kind in kinds]


def export_onnx(model: PoseEstimationWithMobileNet, target: Path, opset: int, shape: Shape = (0, 0, 0)) -> float:
    """Writes `target`; an older file stays unless the new one passed every check.

    Returns the largest difference to PyTorch as a part of an output's largest value. Raises UserError where that is
    above 1e-4, the file is not as asked or cannot be written, or onnx or onnxruntime is missing.
    """
    try:
        import onnx  # nothing but an export needs these two
        import onnxruntime

        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".export_", dir=target.parent) as folder:
            written = Path(folder) / "network.onnx"
            _write(model.eval(), written, opset, shape)
            onnx.checker.check_model(str(written), full_check=True)
            _check_version(onnx.load(written), written, opset)
            session = onnxruntime.InferenceSession(str(written), providers=["CPUExecutionProvider"])
            difference = _difference(session, model, shape)
            if not difference <= TOLERANCE:  # also where it is NaN
                by = f"{difference:.1e} of an output's maximum, more than {TOLERANCE:.0e}: try another --opset"
                raise UserError(f"{target}: not written, ONNX Runtime differs from PyTorch by {by}")
            os.replace(written, target)
    except ImportError as error:
        raise UserError(f"{error.name} is needed to export: pip install 'pose-zoo[infer]'") from error
    except OSError as error:
        raise UserError(f"cannot write {target}: {error.strerror}; name another file with --output_name") from error
    return difference


def _trials(shape: Shape) -> list[Tensor]:
    """Two inputs of the network; of two sizes where it is dynamic."""
    random = torch.Generator().manual_seed(0)
    sizes = [[asked or free for asked, free in zip(shape, trial, strict=True)] for trial in TRIAL_SHAPES]
    return [torch.rand(batch, 3, height, width, generator=random) - 0.5 for batch, height, width in sizes]


def _write(model: PoseEstimationWithMobileNet, path: Path, opset: int, shape: Shape) -> None:
    names = output_names(1 + len(model.refinement_stages))
    words = {INPUT: ("batch", "height", "width"), **dict.fromkeys(names, ("batch", "map_height", "map_width"))}
    free = [(axis, place) for place, axis in enumerate((0, 2, 3)) if shape[place] == 0]
    axes = {name: {axis: words[name][place] for axis, place in free} for name in words}
    with warnings.catch_warnings():  # the newer exporter, which torch recommends, cannot write opset 11
        warnings.filterwarnings("ignore", "You are using the legacy TorchScript-based ONNX export", DeprecationWarning)
        warnings.filterwarnings("ignore", "The feature will be removed", DeprecationWarning, module="torch.onnx")
        torch.onnx.export(model, (_trials(shape)[0],), str(path), dynamo=False, opset_version=opset,
                          dynamic_axes=axes, input_names=[INPUT], output_names=names)  # fmt: skip


def _check_version(network: Any, path: Path, opset: int) -> None:
    """Raises UserError unless the file is of the version that was asked for, and no other lies beside it."""
    found, files = [entry.version for entry in network.opset_import], len(list(path.parent.iterdir()))
    too_new = opset <= LAST_OPSET_OF_CANN and network.ir_version > LARGEST_IR_OF_CANN
    if found != [opset] or files != 1 or too_new:
        what = f"opset {found}, IR version {network.ir_version}, {files} file(s)"
        raise UserError(f"--opset={opset}: this torch ({torch.__version__}) wrote {what}; take another release of it")


def _difference(session: Any, model: PoseEstimationWithMobileNet, shape: Shape) -> float:
    """The largest between ONNX Runtime and PyTorch, as a part of an output's largest value; NaN where one is NaN."""
    differences = []
    for images in _trials(shape):
        with torch.inference_mode():
            wanted = [maps.numpy() for maps in model(images)]
        for mine, theirs in zip(wanted, session.run(None, {INPUT: images.numpy()}), strict=True):
            if mine.shape != theirs.shape:
                raise UserError(f"an exported map is {theirs.shape}, PyTorch's {mine.shape}: give --height and --width")
            differences.append(np.abs(mine - theirs).max() / np.abs(mine).max())
    return float(np.max(differences))


if __name__ == "__main__":
    run(main)
