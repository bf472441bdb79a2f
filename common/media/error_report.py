# SPDX-License-Identifier: Apache-2.0
"""Where a network fails: one page with plots and the worst images, and the numbers as JSON.

`eval.py --report` of every directory writes report.html and report.json. `common.coco.errors` and
`common.coco.accuracy` say what the numbers are; AP is that of `common.coco.evaluate`.
"""

import functools
import json
from pathlib import Path
from typing import Any

from common import files
from common.coco import accuracy, errors
from common.coco.errors import KINDS, Matches
from common.coco.evaluate import Detections, EvaluationSet, Protocol
from common.media import html_page
from common.media.sheets import draw_rows
from common.skeleton import Skeleton

import numpy as np

WORST = 24  # images on the page
DEFINITIONS = "Ronchi and Perona 2017, https://arxiv.org/abs/1707.05388, section 3.1"


def write(
    validation: EvaluationSet, detections: Detections, skeleton: Skeleton, folder: Path, protocol: Protocol = "coco"
) -> None:
    """Writes report.html and report.json into `folder`. Raises UserError where no people count.

    `detections`: of the validation images; those of others are an error, as in an evaluation.
    """
    matches = errors.match(validation.index, validation.rows, detections, skeleton)
    numbers = _measure(validation, detections, skeleton, protocol, matches)
    files.write_atomically(folder / "report.json", json.dumps(numbers, indent=1).encode())
    gallery = _gallery(validation, detections, skeleton, matches)
    sections = {**_tables(numbers), "Worst images: ground truth, prediction": "".join(gallery) or "none"}
    body = "".join(f"<h2>{title}</h2>{content}" for title, content in sections.items())
    html_page.write(folder / "report.html", f"Errors: {validation.annotations}", body)


def _measure(
    validation: EvaluationSet, detections: Detections, skeleton: Skeleton, protocol: Protocol, matches: Matches
) -> dict[str, Any]:
    """The content of report.json."""
    measure = functools.partial(accuracy.precision, detections, skeleton, protocol)
    return {
        "annotations": str(validation.annotations),
        "images": len(validation.rows),
        "people": len(matches.people),
        "people_found": int((matches.found_by >= 0).sum()),
        "detections_of_nobody": int(matches.background.sum()),
        "metrics": validation.average_precision(detections, skeleton.sigmas, protocol),
        "AP_without": accuracy.without_each(validation, skeleton, measure),
        **{f"AP_by_{part}": accuracy.by_part(part, validation, measure) for part in accuracy.PARTS},
        "errors": accuracy.error_kinds(matches, skeleton),
        **accuracy.accuracy(validation.index, matches, skeleton),
    }


def _tables(numbers: dict[str, Any]) -> dict[str, str]:
    """The sections of the page, by their titles."""
    table = html_page.table
    curve = [{"part of the person's size": x, "PCK": y} for x, y in numbers["curve"][::5]]
    metrics = {name: None if value < 0 else value for name, value in numbers["metrics"].items()}  # -1: of no people
    people = {name: numbers[name] for name in ("images", "people", "people_found", "detections_of_nobody")}
    kinds = []
    for name, counts in numbers["errors"].items():
        total = sum(counts.values())
        shares = {kind: count / max(total, 1) for kind, count in counts.items()}
        kinds.append({"keypoint": name, **shares, "in all": total})
    of_found = "of people who were found"
    return {
        "Average precision": table([metrics], metrics),
        "People": table([people]),
        f"Kinds of errors, of all labelled keypoints {of_found} ({DEFINITIONS})": table(kinds, KINDS),
        f"Keypoints {of_found}": table(_keypoints(numbers), ("PCK at 0.1", "PCKh at 0.5", "AUC")),
        f"PCK over the threshold, {of_found}": table(curve, ("PCK",)),
        "AP by the number of people in an image": table(numbers["AP_by_people"], ("AP",)),
        "AP by overlap of people (IoU of boxes)": table(numbers["AP_by_overlap"], ("AP",)),
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


def _gallery(validation: EvaluationSet, detections: Detections, skeleton: Skeleton, matches: Matches) -> list[str]:
    """The images with the most keypoints that are not good, truth beside prediction; unreadable ones are left out."""
    index = validation.index
    owners, not_found = index.image_rows(matches.people), matches.found_by < 0
    lost = np.where(not_found, index.num_keypoints[matches.people], (matches.kinds > 0).sum(axis=1))
    wrong = np.bincount(owners, lost, index.num_images).astype(int)
    order = np.argsort(-wrong, kind="stable")[:WORST]
    shown = []
    chosen = order[wrong[order] > 0].tolist()
    for row, _, truth, found in draw_rows(validation, detections, skeleton, chosen):
        labelled = index.num_keypoints[matches.people[owners == row]].sum()
        caption = f"{index.file_name(row)}: {wrong[row]} of {labelled} keypoints are not good"
        gap = np.full((truth.shape[0], 8, 3), 255, np.uint8)
        shown.append(html_page.figure(np.concatenate([truth, gap, found], axis=1), caption))
    return shown
