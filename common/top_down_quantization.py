# SPDX-License-Identifier: Apache-2.0
"""INT8 of networks that draw a heatmap for each keypoint of a person in a crop: what their directories share.

The values that a network sees are shown by annotated people, prepared exactly as an evaluation prepares them; damage
is what becomes of the keypoints that the float32 network finds in their crops.
"""

import functools
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal, Protocol

from common import layer_groups
from common.cli import UserError, flag
from common.coco.evaluate import Detections
from common.coco.evaluation_set import Validation
from common.judgement import Judge, Score, open_on
from common.qdq import Inputs
from common.quantization_flags import Flags
from common.quantization_search import Forward, Outputs, Task
from common.runtime.session import Array, Session
from common.topdown import pipeline
from common.topdown.boxes import PersonBoxes
from common.topdown.heatmap_decoding import Peaks
from common.topdown.nms import CONFIDENT
from common.topdown.pipeline import Estimator

import numpy as np
import torch
from torch import Tensor

NEAR_MAP = 1.5  # cells; a keypoint that moves farther is another place, not another rounding
Spread = Callable[[Array], Sequence[Inputs]]  # (B, 3, H, W) -> the calls in which a network is asked about it


@dataclass(frozen=True)
class TopDownFlags(Flags):
    """The flags that the top-down programs share; a directory adds those of its evaluation."""

    calibration_method: Literal["minmax", "percentile", "auto"] = flag(
        "how ranges follow from the values seen; auto: both are tried before layers go back to float32", "auto"
    )
    percentile: float = flag("of the values seen that a range holds, for that method", 99.999, above=50, most=100)
    max_ap_drop: float = flag("refuse where AP falls by more", 0.002, most=1)
    max_group_difference: float = flag(
        "a group of layers stays float32 if alone in INT8 its mean difference is more, part of the maps' maximum", 0.01
    )
    max_peaks_lost: float = flag("or if it moves a larger part of the keypoints to another place", 0.05)
    data_path: str = flag("folder of the data set to calibrate and to measure AP on, or `mini`", "")
    calibration_people: int = flag(
        "spread evenly over the training people, else over those of the validation", 64, least=1
    )
    sensitivity_people: int = flag("of these, so many for the report of sensitivity", 8, least=1)

    def check_top_down(self, exporter: str) -> None:
        """Raises UserError where values cannot be meant, see `Flags.check_flags`."""
        self.check_flags(exporter)
        if not self.data_path:
            raise UserError("--data_path is needed to calibrate and to measure AP: a data set's folder, or `mini`")


class Evaluation(Protocol):
    """What the evaluation of a directory returns."""

    @property
    def metrics(self) -> Mapping[str, float]:
        """As `common.coco.evaluate` names them."""

    @property
    def detections(self) -> Detections:
        """The people found."""


@dataclass(frozen=True)
class Damage:
    """What 8 bits did to the maps, and to the keypoints that they give."""

    heatmaps_largest: float  # difference, part of the largest float32 value
    heatmaps_mean: float
    peaks: int  # keypoints that float32 finds with confidence
    peaks_kept: int  # of these, at the same place
    cells_moved: float  # mean over the keypoints

    HEADINGS: ClassVar[str] = f"{'heatmaps, largest mean':>24}{'keypoints kept':>17}{'moved, cells':>14}"

    @property
    def mean_difference(self) -> float:
        """Of the maps, part of their largest value."""
        return self.heatmaps_mean

    @property
    def part_lost(self) -> float:
        """Of the float32 keypoints."""
        return (self.peaks - self.peaks_kept) / max(1, self.peaks)

    @property
    def harm(self) -> tuple[float, ...]:
        """The larger, the more harm it is; of a few keypoints, one that jumps says less than the maps."""
        return (self.heatmaps_mean, self.cells_moved)

    def columns(self) -> str:
        """The numbers, for a line of the table."""
        kept = f"{self.peaks_kept} of {self.peaks}"
        return f"{self.heatmaps_largest:>17.2%}{self.heatmaps_mean:>7.2%}{kept:>17}{self.cells_moved:>14.3f}"


def compare(
    inputs: Sequence[Inputs], wanted: Sequence[Outputs], forward: Forward, decode: Callable[[Tensor], Peaks]
) -> Damage:
    """The damage of `forward` over inputs, against the float32 outputs of these: the last output, (B, K, h, w)."""
    largest, total, count, top = 0.0, 0.0, 0, 1e-9
    moved: list[Array] = []
    for arrays, outputs in zip(inputs, wanted, strict=True):
        mine, theirs = outputs[-1], forward(arrays)[-1]
        difference = np.abs(mine - theirs)
        largest, top = float(np.maximum(largest, difference.max())), max(top, float(np.abs(mine).max()))
        total, count = total + float(difference.sum(dtype=np.float64)), count + difference.size
        moved.append(_distances(mine, theirs, decode))
    cells = np.concatenate(moved)
    mean = float(cells.mean()) if len(cells) else 0.0
    return Damage(largest / top, total / count / top, len(cells), int((cells <= NEAR_MAP).sum()), mean)


def _distances(mine: Array, theirs: Array, decode: Callable[[Tensor], Peaks]) -> Array:
    """(N,) how far each keypoint moved that the first maps show with confidence, cells."""
    before, after = (decode(torch.from_numpy(np.ascontiguousarray(maps))) for maps in (mine, theirs))
    distances: Array = torch.linalg.vector_norm(before.cells - after.cells, dim=-1)[before.scores > CONFIDENT].numpy()
    return distances


def task(
    flags: TopDownFlags, people: tuple[Validation, PersonBoxes], estimator: Estimator, spread: Spread,
    protocol: Mapping[str, Any],
) -> Task:  # fmt: skip
    """What the search is told of a network whose crops `estimator` prepares and decodes.

    `people`: those of a data set to calibrate with; `spread`: how the network is asked about a batch of crops.
    """
    validation, boxes = people
    chosen = boxes.select(_evenly(len(boxes), flags.calibration_people))
    few = chosen.select(_evenly(len(chosen), flags.sensitivity_people))
    index, where = validation.index, str(validation.annotations)
    same = " (on which AP is measured, too)" if where == protocol.get("annotations") else ""
    names = [f"{index.file_name(image)} {box}" for image, box in zip(chosen.image_rows.tolist(),
             chosen.boxes_img.round(1).tolist(), strict=True)]  # fmt: skip
    return Task(
        inputs=functools.partial(_inputs, validation, chosen, estimator, spread),
        examples=functools.partial(_inputs, validation, few, estimator, spread),
        names=names,
        described=f"{len(chosen)} people of {where}{same}",
        groups=layer_groups.by_modules,
        damage=functools.partial(compare, decode=estimator.decode),
        protocol={**protocol, "calibrated_on": where},
    )


def _evenly(count: int, wanted: int) -> pipeline.Rows:
    """Rows of `count` things: `wanted` of them, or all, the first and the last among them."""
    return np.unique(np.linspace(0, count - 1, wanted).round().astype(np.int64))


def _inputs(validation: Validation, boxes: PersonBoxes, estimator: Estimator, spread: Spread) -> Iterator[Inputs]:
    pictures = pipeline.pictures_of(validation, boxes, boxes.by_image())
    for images in pipeline.network_inputs(pictures, estimator):
        yield from spread(images)


def opened(source: Path, num_keypoints: int, most_inputs: int, exporter: str) -> Session:
    """A float32 network file that draws a map a keypoint. Raises UserError for another network, or no network.

    `most_inputs`: that such a network may have.
    """
    session = open_on(source, "cpu")
    shape, maps = session.inputs[0].shape, session.outputs[-1].shape
    fits = len(session.inputs) <= most_inputs and len(shape) == len(maps) == 4
    if not (fits and maps[1] in (None, num_keypoints)):
        ports = [f"{port.name} ({', '.join(str(n or 'any') for n in port.shape)})" for port in
                 (*session.inputs, *session.outputs)]  # fmt: skip
        raise UserError(
            f"{source}: is another network ({', '.join(ports)}): it must draw a map for each of {num_keypoints} "
            f"keypoints; export it with {exporter}, and name its skeleton with --skeleton"
        )
    return session


def judge(flags: Flags, evaluate: Callable[[Session], Evaluation], validation: Validation, boxes: PersonBoxes) -> Judge:
    """Measures networks by `evaluate`, which finds the people in `boxes`."""
    images = f"{len(validation.rows)} images of {validation.folder}, {len(boxes)} boxes"
    return Judge(flags.source, lambda session: score(evaluate(session)), images, flags.max_ap_drop, flags.threads)


def score(found: Evaluation) -> Score:
    """AP, and how many people have a keypoint that was found with confidence."""
    confident = (found.detections.keypoints[..., 2] > CONFIDENT).any(axis=1)
    return Score(found.metrics["AP"], int(confident.sum()))
