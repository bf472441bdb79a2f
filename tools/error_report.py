# SPDX-License-Identifier: Apache-2.0
"""The page of `eval.py --report`, of any COCO result file.

python -m tools.error_report --data_path=/data/coco --detections=detections.json --output_dir=report
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import common.skeleton
from common import cli
from common.cli import UserError, flag
from common.coco import fields, images
from common.coco.evaluate import Detections, EvaluationSet, Protocol, read_list
from common.media import error_report

import numpy as np


@dataclass(frozen=True)
class Config:
    """Write a page about the errors of a COCO result file."""

    data_path: str = flag("COCO folder, or `mini`; empty: COCO_HOME or ./data/coco", "")
    detections: str = flag("COCO result file, such as the detections.json of eval.py (required)", "")
    output_dir: str = flag("folder for report.html and report.json", "report")
    annotations: str = flag("annotation file; empty: that of the validation images of data_path", "")
    skeleton: str = flag("coco, crowdpose, or a YAML file", "coco")
    protocol: Protocol = flag("protocol of AP", "coco")


def main(argv: Sequence[str] | None = None) -> None:
    """The command."""
    config = cli.parse(Config, {}, argv)
    if not config.detections:
        raise UserError("--detections is needed: a COCO result file, such as the detections.json of eval.py")
    skeleton = common.skeleton.load(config.skeleton)
    detections = load_detections(config.detections, skeleton.num_keypoints)
    root, folder = images.data_folder(config.data_path), Path(config.output_dir)
    annotations = Path(config.annotations) if config.annotations else images.annotation_file(root, "val")
    validation = EvaluationSet.load(annotations, images.image_folder(root, "val"), skeleton, 0)
    error_report.write(validation, detections, skeleton, folder, config.protocol)
    print(folder / "report.html")  # noqa: T201  the program's answer


def load_detections(path: str | Path, num_keypoints: int) -> Detections:
    """A COCO result file. Raises UserError, naming file and entry."""

    def read(result: Any) -> tuple[int, Any, float]:
        fields.need_object(result)
        values = fields.numbers_of(result, "keypoints")
        if len(values) != 3 * num_keypoints:
            raise ValueError(f"{len(values)} keypoint numbers, not 3 x {num_keypoints}: --skeleton names others")
        return fields.whole(result["image_id"], "image_id"), values, float(result["score"])

    results = list(read_list(path, read, "name the detections.json of eval.py"))
    ids, values, scores = map(np.array, zip(*results, strict=True) if results else ((),) * 3)
    if not (np.isfinite(values).all() and np.isfinite(scores).all()):
        raise UserError(f"{path}: NaN or infinity in it; evaluate again")
    return Detections(ids.astype(np.int64), values.reshape(-1, num_keypoints, 3), scores)


if __name__ == "__main__":
    cli.run(main)
