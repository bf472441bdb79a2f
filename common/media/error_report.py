# SPDX-License-Identifier: Apache-2.0
"""Where a network fails: one page with plots and the worst images, and the numbers as JSON.

    python -m common.media.error_report --data_path=/data/coco --detections=detections.json --output_dir=report

reads a COCO result file (that of `eval.py`) and writes report.html and report.json. `common.coco.errors` and
`common.coco.accuracy` say what the numbers are; AP is that of `common.coco.evaluate`.
"""

import dataclasses
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import common.skeleton
from common import cli, files
from common.cli import ImageError, UserError, flag
from common.coco import accuracy, errors, fields, images
from common.coco.errors import KINDS, Matches
from common.coco.evaluate import Detections, EvaluationSet, Protocol, read_list
from common.coco.images import Exif
from common.media import html_page
from common.media.sheets import truth_and_prediction
from common.skeleton import Skeleton

import numpy as np

WORST = 24  # images on the page
LONGEST_SIDE = 420  # px of an image on the page
DEFINITIONS = "Ronchi and Perona 2017, https://arxiv.org/abs/1707.05388, section 3.1"


@dataclass(frozen=True)
class Config:
    """Write a page about the errors of a COCO result file."""

    data_path: str = flag("COCO folder, or `mini`; empty: COCO_HOME or ./data/coco", "")
    detections: str = flag("COCO result file, such as the detections.json of eval.py (required)", "")
    output_dir: str = flag("folder for report.html and report.json", "report")
    annotations: str = flag("annotation file; empty: that of the validation images of data_path", "")
    images_folder: str = flag("folder of the images; empty: that of data_path", "")
    skeleton: str = flag("coco, crowdpose, or a YAML file", "coco")
    protocol: Protocol = flag("how AP counts", "coco")
    only_detected: bool = flag("only images that the result file has: it is of a part of the annotations", False)
    exif: Exif = flag("images as they are stored (so COCO is annotated), or turned as EXIF says", "ignore")
    worst: int = flag("how many of the worst images to show; 0: none, and no image is read", WORST, most=1000)


def main(argv: Sequence[str] | None = None) -> None:
    """The command."""
    config = cli.parse(Config, {}, argv)
    if not config.detections:
        raise UserError("--detections is needed: a COCO result file, such as the detections.json of eval.py")
    skeleton = common.skeleton.load(config.skeleton)
    detections = load_detections(config.detections, skeleton.num_keypoints)
    validation = _validation(config, skeleton, detections)
    page = write(validation, detections, skeleton, Path(config.output_dir), config.protocol, config.worst)
    print(page)  # noqa: T201  the program's answer


def _validation(config: Config, skeleton: Skeleton, detections: Detections) -> EvaluationSet:
    needs_folder = config.worst and not config.images_folder
    root = images.data_folder(config.data_path) if needs_folder or not config.annotations else Path()
    annotations = Path(config.annotations) if config.annotations else images.annotation_file(root, "val")
    folder = images.image_folder(root, "val") if needs_folder else Path(config.images_folder)
    found = EvaluationSet.load(annotations, folder, skeleton, 0, config.exif)
    if not config.only_detected:
        return found
    return dataclasses.replace(found, rows=np.flatnonzero(np.isin(found.index.image_ids, detections.image_ids)))


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


def write(
    validation: EvaluationSet,
    detections: Detections,
    skeleton: Skeleton,
    folder: Path,
    protocol: Protocol = "coco",
    worst: int = WORST,
) -> Path:
    """Writes report.html and report.json into `folder` and returns the page. Raises UserError where no people count.

    `detections`: of the validation images; those of others are an error, as in an evaluation.
    """
    matches = errors.match(validation.index, validation.rows, detections, skeleton)
    numbers = _measure(validation, detections, skeleton, protocol, matches)
    files.write_atomically(folder / "report.json", json.dumps(numbers, indent=1).encode())
    gallery = _gallery(validation, detections, skeleton, matches, worst)
    sections = {**_tables(numbers), "Worst images: ground truth, prediction": "".join(gallery) or "none"}
    body = "".join(f"<h2>{title}</h2>{content}" for title, content in sections.items())
    html_page.write(folder / "report.html", f"Errors: {validation.annotations}", body)
    return folder / "report.html"


def _measure(
    validation: EvaluationSet, detections: Detections, skeleton: Skeleton, protocol: Protocol, matches: Matches
) -> dict[str, Any]:
    """What report.json has."""
    parts = (validation, detections, skeleton, protocol)
    return {
        "annotations": str(validation.annotations),
        "images": len(validation.rows),
        "people": len(matches.people),
        "people_found": int((matches.found_by >= 0).sum()),
        "detections_of_nobody": int(matches.background.sum()),
        "metrics": validation.average_precision(detections, skeleton.sigmas, protocol),
        "AP_without": accuracy.without_each(*parts),
        "AP_by_people": accuracy.by_crowd(*parts),
        "AP_by_overlap": accuracy.by_overlap(*parts),
        "errors": accuracy.error_kinds(matches, skeleton),
        **accuracy.accuracy(validation.index, matches, skeleton),
    }


def _tables(numbers: dict[str, Any]) -> dict[str, str]:
    """The sections of the page, by their titles."""
    curve = [{"part of the person's size": x, "PCK": y} for x, y in numbers["curve"][::5]]
    metrics = {name: None if value < 0 else value for name, value in numbers["metrics"].items()}  # -1: of nobody
    people = {name: numbers[name] for name in ("images", "people", "people_found", "detections_of_nobody")}
    points, kinds = _keypoints(numbers), [_kinds(name, counts) for name, counts in numbers["errors"].items()]
    return {
        "Average precision": html_page.table([metrics], metrics),
        "People": html_page.table([people]),
        f"Kinds of errors, of all labelled keypoints of people who were found ({DEFINITIONS})": html_page.table(
            kinds, KINDS
        ),
        "Keypoints of people who were found": html_page.table(points, ("PCK at 0.1", "PCKh at 0.5", "AUC")),
        "PCK over the threshold, people who were found": html_page.table(curve, ("PCK",)),
        "AP by the number of people in an image": html_page.table(numbers["AP_by_people"], ("AP",)),
        "AP by overlap of people (IoU of boxes)": html_page.table(numbers["AP_by_overlap"], ("AP",)),
    }


def _keypoints(numbers: dict[str, Any]) -> list[dict[str, Any]]:
    ap, without = numbers["metrics"]["AP"], numbers["AP_without"]
    return [
        {
            "keypoint": name,
            "PCK at 0.1": numbers["pck"]["0.1"][name],
            "PCKh at 0.5": numbers["pckh"]["0.5"][name] if numbers["pckh"] else None,
            "AUC": auc,
            "mean distance (px)": numbers["epe_px"][name],
            "of the person's size": numbers["epe_relative"][name],
            "AP changes without it by": None if without.get(name) is None else without[name] - ap,
        }
        for name, auc in numbers["auc"].items()
    ]


def _kinds(name: str, counts: dict[str, int]) -> dict[str, Any]:
    total = sum(counts.values())
    return {"keypoint": name, **{kind: count / max(total, 1) for kind, count in counts.items()}, "in all": total}


def _gallery(
    validation: EvaluationSet, detections: Detections, skeleton: Skeleton, matches: Matches, worst: int
) -> list[str]:
    """The images with the most keypoints that are not good, truth beside prediction; unreadable ones are left out."""
    index = validation.index
    owners = index.image_rows(matches.people)
    wrong = np.bincount(owners, accuracy.lost_keypoints(matches, index), index.num_images).astype(int)
    order = np.argsort(-wrong, kind="stable")[:worst]
    shown = []
    for row in order[wrong[order] > 0].tolist():
        labelled = index.num_keypoints[matches.people[owners == row]].sum()
        caption = f"{index.file_name(row)}: {wrong[row]} of {labelled} keypoints are not good"
        try:
            _, truth, found = truth_and_prediction(validation, detections, skeleton, row, longest=LONGEST_SIDE)
        except ImageError:
            continue
        gap = np.full((truth.shape[0], 8, 3), 255, np.uint8)
        shown.append(html_page.figure(np.concatenate([truth, gap, found], axis=1), caption))
    return shown


if __name__ == "__main__":
    cli.run(main)
