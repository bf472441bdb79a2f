# SPDX-License-Identifier: Apache-2.0
"""Where a network fails: one page with plots and the worst images, and the numbers as JSON.

    python -m common.media.error_report --data_path=/data/coco --detections=detections.json --output_dir=report

reads a COCO result file (that of `eval.py`) and writes report.html and report.json. `common.coco.errors` and
`common.coco.accuracy` say what the numbers are; AP is that of `common.coco.evaluate`.
"""

import base64
import html
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import common.skeleton
from common import cli, files
from common.arrays import Float64Array, UInt8Array
from common.cli import ImageError, UserError, flag
from common.coco import accuracy, errors, fields, images
from common.coco.errors import Matches
from common.coco.evaluate import Detections, EvaluationSet, Protocol
from common.coco.images import Exif
from common.media import charts, drawing
from common.skeleton import Skeleton

import cv2
import numpy as np

WORST = 24  # images on the page
LONGEST_SIDE = 420  # px of an image on the page
JPEG_QUALITY = 80
STYLE = (
    "body{font:15px sans-serif;max-width:1000px;margin:2em auto;padding:0 1em}svg{max-width:640px;font-size:12px}"
    "td,th{padding:2px 10px;text-align:right}img{max-width:100%}figure{margin:1em 0}"
)
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
    needs_folder = not (config.annotations and (config.images_folder or not config.worst))
    root = images.data_folder(config.data_path) if needs_folder else Path()
    annotations = Path(config.annotations) if config.annotations else images.annotation_file(root, "val")
    folder = Path(config.images_folder)
    if config.worst and not config.images_folder:
        folder = images.image_folder(root, "val")
    found = EvaluationSet.load(annotations, folder, skeleton, 0, config.exif)
    if not config.only_detected:
        return found
    rows = np.flatnonzero(np.isin(found.index.image_ids, detections.image_ids))
    return EvaluationSet(annotations, folder, found.index, rows, config.exif)


def load_detections(path: str | Path, num_keypoints: int) -> Detections:
    """A COCO result file. Raises UserError, naming file and entry."""
    content = files.read_json(path)
    if not isinstance(content, list):
        raise UserError(f"{path}: no list of results; name the detections.json of eval.py")
    ids, scores = np.zeros(len(content), np.int64), np.zeros(len(content))
    keypoints = np.zeros((len(content), num_keypoints, 3))
    for place, result in enumerate(content):
        try:
            fields.need_object(result)
            ids[place] = fields.whole(result["image_id"], "image_id")
            scores[place] = float(result["score"])
            values = fields.numbers_of(result, "keypoints")
            if len(values) != 3 * num_keypoints:
                raise ValueError(f"{len(values)} keypoint numbers, not 3 x {num_keypoints}: --skeleton names others")
            keypoints[place] = np.array(values).reshape(-1, 3)
        except fields.FAULTS as error:
            what = f"no {error}" if isinstance(error, KeyError) else str(error)
            raise UserError(f"{path}: entry {place}: {what}") from error
    if not (np.isfinite(keypoints).all() and np.isfinite(scores).all()):
        raise UserError(f"{path}: NaN or infinity in it; evaluate again")
    return Detections(ids, keypoints, scores)


def write(
    validation: EvaluationSet,
    detections: Detections,
    skeleton: Skeleton,
    folder: Path,
    protocol: Protocol = "coco",
    worst: int = WORST,
) -> Path:
    """Writes report.html and report.json into `folder` and returns the page. Raises UserError where nobody counts.

    `detections`: of the validation images; those of others are an error, as in an evaluation.
    """
    matches = errors.match(validation.index, validation.rows, detections, skeleton)
    numbers = measure(validation, detections, skeleton, protocol, matches)
    files.write_atomically(folder / "report.json", json.dumps(numbers, indent=1).encode())
    page = _page(numbers, skeleton, _gallery(validation, detections, skeleton, matches, worst))
    files.write_atomically(folder / "report.html", page.encode())
    return folder / "report.html"


def measure(
    validation: EvaluationSet, detections: Detections, skeleton: Skeleton, protocol: Protocol, matches: Matches
) -> dict[str, Any]:
    """What report.json has."""
    index, rows = validation.index, validation.rows
    parts = (index, rows, detections, skeleton, protocol)
    metrics = validation.average_precision(detections, skeleton.sigmas, protocol)
    without = accuracy.without_each(*parts)
    return {
        "annotations": str(validation.annotations),
        "images": len(rows),
        "people": len(matches.people),
        "people_found": int((matches.found_by >= 0).sum()),
        "detections_of_nobody": int(matches.background.sum()),
        "metrics": metrics,
        "AP_without": without,
        "AP_by_people": accuracy.by_crowd(*parts),
        "AP_by_overlap": accuracy.by_overlap(*parts),
        "errors": accuracy.error_kinds(matches, skeleton),
        **accuracy.accuracy(index, matches, skeleton),
    }


@dataclass(frozen=True)
class _Shown:
    """One of the worst images."""

    name: str
    wrong: int
    labelled: int
    jpeg: bytes


def _gallery(
    validation: EvaluationSet, detections: Detections, skeleton: Skeleton, matches: Matches, worst: int
) -> list[_Shown]:
    """The images with the most keypoints that are not good, truth beside prediction; unreadable ones are left out."""
    index = validation.index
    lost = accuracy.lost_keypoints(matches, index)
    owners = index.image_rows(matches.people)
    sums = np.bincount(owners, weights=lost, minlength=index.num_images)
    order = np.argsort(-sums, kind="stable")[:worst]
    shown = []
    for row in order[sums[order] > 0].tolist():
        labelled = int(index.num_keypoints[matches.people[owners == row]].sum())
        try:
            jpeg = _pair(validation, detections, skeleton, row)
        except ImageError:
            continue
        shown.append(_Shown(index.file_name(row), int(sums[row]), labelled, jpeg))
    return shown


def _pair(validation: EvaluationSet, detections: Detections, skeleton: Skeleton, row: int) -> bytes:
    index, image = validation.index, validation.read(row)
    scale = min(1.0, LONGEST_SIDE / max(image.shape[:2]))
    small = cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA) if scale < 1 else image.copy()
    mine = detections.keypoints[detections.image_ids == index.image_ids[row]]
    truth = drawing.draw_people(small, _scaled(index.keypoints[index.people(row)], scale), skeleton)
    found = drawing.draw_people(small, _scaled(mine, scale), skeleton)
    gap: UInt8Array = np.full((small.shape[0], 8, 3), 255, np.uint8)
    pair = np.concatenate([truth, gap, found], axis=1)
    return cv2.imencode(".jpg", pair, [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])[1].tobytes()


def _scaled(keypoints: Any, scale: float) -> Float64Array:
    return np.asarray(keypoints, np.float64) * (scale, scale, 1.0)


def _page(numbers: dict[str, Any], skeleton: Skeleton, gallery: list[_Shown]) -> str:
    ap = numbers["metrics"]["AP"]
    without = {name: None if value is None else value - ap for name, value in numbers["AP_without"].items()}
    largest = max([abs(value) for value in without.values() if value is not None] or [0.0]) or 1.0
    curve = [(x, y) for x, y in numbers["curve"] if y is not None]
    sections = [
        ("Average precision", _table([numbers["metrics"]])),
        (
            "People",
            _table([{name: numbers[name] for name in ("images", "people", "people_found", "detections_of_nobody")}]),
        ),
        (f"Kinds of errors ({DEFINITIONS})", charts.stacked(numbers["errors"])),
        ("PCK over the threshold, people who were found", charts.line(curve, "part of the person's size", "PCK")),
        ("PCK at 0.1 of the person's size", charts.bars(numbers["pck"]["0.1"])),
        ("PCKh at 0.5", charts.bars(numbers["pckh"]["0.5"]) if numbers["pckh"] else html.escape(numbers["pckh_note"])),
        ("AUC of PCK from 0 to 0.5", charts.bars(numbers["auc"])),
        ("Mean distance (EPE)", _table(_distances(numbers))),
        ("How AP changes when a keypoint does not count", charts.bars(without, largest, sign=True)),
        ("AP by the number of people in an image", _table(numbers["AP_by_people"])),
        ("AP by overlap of people (IoU of boxes)", _table(numbers["AP_by_overlap"])),
        ("Worst images: ground truth, prediction", "".join(map(_figure, gallery)) or "none"),
    ]
    body = "".join(f"<h2>{html.escape(title)}</h2>{content}" for title, content in sections)
    title = html.escape(f"Errors: {numbers['annotations']}")
    head = f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{title}</title><style>{STYLE}</style>'
    return f"{head}<h1>{title}</h1>{body}</html>"


def _distances(numbers: dict[str, Any]) -> list[dict[str, Any]]:
    pairs = zip(numbers["epe_px"].items(), numbers["epe_relative"].values(), strict=True)
    return [{"keypoint": name, "pixels": px, "of the person's size": part} for (name, px), part in pairs]


def _table(rows: list[dict[str, Any]]) -> str:
    names = list(rows[0]) if rows else []
    head = "".join(f"<th>{html.escape(name)}</th>" for name in names)
    lines = ["".join(f"<td>{html.escape(_text(row[name]))}</td>" for name in names) for row in rows]
    return f"<table><tr>{head}</tr>{''.join(f'<tr>{line}</tr>' for line in lines)}</table>"


def _text(value: Any) -> str:
    return "-" if value is None else f"{value:.4f}" if isinstance(value, float) else str(value)


def _figure(one: _Shown) -> str:
    data = base64.b64encode(one.jpeg).decode()
    caption = f"{html.escape(cli.printable(one.name))}: {one.wrong} of {one.labelled} keypoints are not good"
    return f'<figure><img alt="" src="data:image/jpeg;base64,{data}"><figcaption>{caption}</figcaption></figure>'


if __name__ == "__main__":
    cli.run(main)
