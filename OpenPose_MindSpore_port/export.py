# SPDX-License-Identifier: Apache-2.0
"""A checkpoint as ONNX, kept only when ONNX Runtime gives the same maps as PyTorch.

python export.py --ckpt_file=0-6_30000.ckpt --file_name=openpose --file_format=ONNX
python -m OpenPose_MindSpore_port.export --checkpoint_path=model_best.pth --batch_size=1 --height=368 --width=496

The network takes `images`, (B, 3, H, W) float32 BGR as pixel / 255 - 0.5, H and W multiples of 8, and gives twelve
outputs of (B, channels, H / 8, W / 8): `paf1` to `paf6`, then `heatmap1` to `heatmap6`. People are found in the last
of each, outputs 5 and 11. The original's formats are made from it: `atc --model=openpose.onnx --framework=5` writes
an `.om` for Ascend, which eval.py and demo.py read.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import common.skeleton
from common.bottomup.export import Shape, export_maps, summary
from common.cli import UserError, flag, parse, run
from common.runtime.export import check_opset
from OpenPose_MindSpore_port import weights
from OpenPose_MindSpore_port.model import NUM_STAGES, STRIDE, OpenPose
from OpenPose_MindSpore_port.predict import LastMaps, metadata_of

from torch import Tensor

INPUT = "images"
OUTPUTS = [f"{kind}{stage}" for kind in ("paf", "heatmap") for stage in range(1, NUM_STAGES + 1)]
SUFFIX = ".onnx"
INSTEAD = (
    "is MindSpore's own format and not written here: export --file_format=ONNX, which `atc --framework=5` makes an .om "
    "for Ascend of, and MindSpore Lite's converter_lite (--fmk=ONNX) reads"
)


class AllMaps(LastMaps):
    """The network with the outputs of an exported one: pafs of all stages, then heatmaps of all stages."""

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        """(B, 3, H, W) -> 6 x (B, num_pafs, h, w), 6 x (B, num_heatmaps, h, w)."""
        pafs, heatmaps = self.network(images)
        return (*pafs, *heatmaps)


@dataclass(frozen=True)
class Config:
    """Exports a checkpoint of the VGG19 OpenPose of MindSpore as ONNX."""

    ckpt_file: str = flag("a checkpoint: .ckpt or .pth", "")
    file_name: str = flag(f"file to write; {SUFFIX} is added where it is missing", "openpose")
    file_format: Literal["ONNX", "AIR", "MINDIR"] = flag("ONNX; the others are refused with what replaces them", "ONNX")
    opset: int = flag("ONNX operator set; CANN's ATC takes 11 everywhere", 11, least=1, most=1000)
    batch_size: int = flag("images at once; 0: any number", 0, most=10**6)
    height: int = flag("height of the network's input, pixels, a multiple of 8; 0: any", 0, most=16384)
    width: int = flag("width of the network's input, pixels, a multiple of 8; 0: any", 0, most=16384)
    skeleton: str = flag("built-in name or YAML file of your own keypoints", "openpose")

    def check(self) -> None:
        """Raises UserError for values that contradict each other."""
        if self.file_format != "ONNX":
            raise UserError(f"--file_format={self.file_format} {INSTEAD}")
        if not self.ckpt_file:
            raise UserError("--ckpt_file is needed: a checkpoint, .ckpt or .pth")
        check_opset(self.opset)
        for name in ("height", "width"):
            if getattr(self, name) % STRIDE:
                raise UserError(f"--{name}={getattr(self, name)}: a multiple of {STRIDE}, or 0 for any")


ALIASES = {"checkpoint_path": "ckpt_file", "output_name": "file_name", "export_batch_size": "batch_size"}
RETIRED = dict.fromkeys(("device_id", "device_target"), "an export computes on the CPU")


def main() -> None:
    """Exports as the flags say, and prints what was written."""
    config = parse(Config, {}, aliases=ALIASES, retired=RETIRED)
    config.check()
    skeleton = common.skeleton.load(config.skeleton)
    network = weights.load_network(weights.locate_checkpoint(config.ckpt_file), skeleton)
    target = Path(config.file_name if config.file_name.endswith(SUFFIX) else config.file_name + SUFFIX)
    shape = (config.batch_size, config.height, config.width)
    difference = export_onnx(network, target, config.opset, shape, metadata_of(skeleton))
    print(summary(target, config.opset, INPUT, shape, difference))  # noqa: T201  the program's answer


def export_onnx(
    network: OpenPose, target: Path, opset: int, shape: Shape = (0, 0, 0), about: Mapping[str, Any] = {}
) -> float:
    """Writes `target` and returns its largest difference to PyTorch, see `common.runtime.export.export_onnx`."""
    return export_maps(AllMaps(network), target, opset, (INPUT, OUTPUTS), shape, about)


if __name__ == "__main__":
    run(main)
