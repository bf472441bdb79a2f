# SPDX-License-Identifier: Apache-2.0
"""Networks that take images of any size, as ONNX."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from common.runtime.export import Ports, export_onnx

import torch
from torch import nn

Shape = tuple[int, int, int]  # batch, height, width of the input; 0: any
TRIAL_SHAPES = ((2, 72, 96), (1, 88, 56))  # of the inputs to compare on, where any goes


def export_maps(
    model: nn.Module, target: Path, opset: int, names: tuple[str, Sequence[str]], shape: Shape, about: Mapping[str, Any]
) -> float:
    """Writes `target` and returns its largest difference to PyTorch, see `common.runtime.export.export_onnx`.

    `names`: of the input and of the outputs.
    """
    image, maps = names
    words = {image: ("batch", "height", "width"), **dict.fromkeys(maps, ("batch", "map_height", "map_width"))}
    free = [(axis, place) for place, axis in enumerate((0, 2, 3)) if shape[place] == 0]
    axes = {name: {axis: words[name][place] for axis, place in free} for name in words}
    random, trials = torch.Generator().manual_seed(0), []
    for trial_shape in TRIAL_SHAPES:
        batch, height, width = (asked or trial for asked, trial in zip(shape, trial_shape, strict=True))
        trials.append((torch.rand(batch, 3, height, width, generator=random) - 0.5,))
    return export_onnx(model, target, opset, Ports([image], maps, axes), trials, about)


def summary(target: Path, opset: int, input_name: str, shape: Shape, difference: float) -> str:
    """A line about the file written; `difference`: as `export_maps` returns it."""
    batch, height, width = (size or "any" for size in shape)
    return (
        f"{target}: opset {opset}, {input_name} {batch} x 3 x {height} x {width}, {target.stat().st_size / 1e6:.1f} "
        f"MB; largest difference to PyTorch {difference:.1e} of an output's maximum"
    )
