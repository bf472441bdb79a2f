# SPDX-License-Identifier: Apache-2.0
"""Checks a data set in COCO's format before a long training: every annotation, every image, left and right.

    python -m common.coco DATA_PATH [--skeleton file.yaml] [--images false] [--limit 20] [--html findings.html]

prints one line a finding and a summary; --html writes a page with the images beside them. The exit code is 1 if
something is wrong, else 0. A warning is something that occurs in COCO itself, and that training handles.
The rules are in `common.coco.rules`.
"""

import contextlib
import os
import sys
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from common import cli, skeleton
from common.cli import ImageError, UserError
from common.coco import rules, sigmas
from common.coco.annotations import CocoIndex
from common.coco.images import SPLITS, Exif, annotation_file, data_folder, find, read_file, read_image
from common.coco.orientation import UPRIGHT, orientation_of, wrong_size
from common.coco.rules import Finding
from common.skeleton import Skeleton

from tqdm import tqdm

MAX_THREADS = 16


@dataclass(frozen=True)
class Config:
    """Check a data set in COCO's format: images, annotations, left and right."""

    data_path: str = cli.flag("COCO folder, or `mini` for the drawn data set; empty: COCO_HOME or ./data/coco", "")
    skeleton: str = cli.flag("coco, crowdpose, or a YAML file, to compare with", "")
    images: bool = cli.flag("read every image, too", True)
    exif: Exif = cli.flag("images as stored (as COCO is annotated), or turned by EXIF", "ignore")
    limit: int = cli.flag("lines of each kind on screen; 0: all", 20)
    html: str = cli.flag("file to write: the findings with their images beside them, left and right first", "")
    estimate_sigmas: tuple[str, ...] = cli.flag(
        "instead of a check: two annotation files of the same images, by different people", ()
    )


def main(argv: Sequence[str] | None = None) -> None:
    """The command `python -m common.coco`."""
    config = cli.parse(Config, {}, argv, prepare=_name_the_path)
    if config.estimate_sigmas:
        print(sigmas.estimate(config.estimate_sigmas))  # noqa: T201  this is the program's answer
        sys.exit(0)
    points = skeleton.load(config.skeleton) if config.skeleton else None
    folder = data_folder(config.data_path)
    findings = check(folder, points, config.images, config.exif)
    _print(findings, config.limit)
    if config.html:
        from common.media import findings_page  # draws: a package above this one

        findings_page.write(Path(config.html), findings, folder, points, config.exif)
    sys.exit(1 if any(finding.is_error for finding in findings) else 0)


def _name_the_path(words: Sequence[str]) -> list[str]:
    """The data set may be given without a flag, as the first word."""
    return [f"--data_path={words[0]}", *words[1:]] if words and not words[0].startswith("-") else list(words)


def _print(findings: list[Finding], limit: int) -> None:
    counts: Counter[str] = Counter()
    lines, most = list[str](), limit or len(findings)
    for finding in findings:
        counts[finding.kind] += 1
        lines += [str(finding)] if counts[finding.kind] <= most else []
    more = {kind: count - most for kind, count in counts.items() if count > most}
    lines += [f"... and {count} more of the kind {kind!r}: --limit 0 shows all" for kind, count in more.items()]
    errors = sum(finding.is_error for finding in findings)
    print(*lines, f"{errors} errors, {len(findings) - errors} warnings", sep="\n")  # noqa: T201  the program's answer


def check(
    data_path: str | Path, points: Skeleton | None = None, images: bool = True, exif: Exif = "ignore"
) -> list[Finding]:
    """All errors of a data set, in both splits. `points`: the skeleton that it should have.

    Raises UserError where `data_path` has no annotation file at all.
    """
    paths: dict[str, Path] = {}
    for split in SPLITS:
        with contextlib.suppress(UserError):
            paths[split] = annotation_file(data_path, split)
    if not paths:
        annotation_file(data_path, SPLITS[0])  # reports what is missing
    findings = rules.broken_skeleton(points) if points else []
    folders = {split: find(data_path, f"{split}2017") for split in paths}
    for split, folder in folders.items():
        index, found = rules.check(paths[split], points)
        findings += found
        if folder is None:
            missing = str(Path(data_path) / f"{split}2017")
            findings.append(Finding(missing, "", "images", "no such folder", not any(folders.values())))
        elif images:
            findings += _odd_images(folder, index, exif)
    return findings


def _odd_images(folder: Path, index: CocoIndex, exif: Exif) -> list[Finding]:
    """Images that are missing, damaged, of another size than annotated, or have an EXIF orientation. Reads all."""
    with ThreadPoolExecutor(min(MAX_THREADS, os.cpu_count() or 1)) as pool:
        results = pool.map(lambda row: _check_image(folder, index, row, exif), range(index.num_images))
        bar = tqdm(results, desc=folder.name, total=index.num_images, unit="image", leave=False, disable=None)
        return [finding for finding in bar if finding]


def _check_image(folder: Path, index: CocoIndex, row: int, exif: Exif) -> Finding | None:
    subject, path = f"image {index.image_ids[row]}", folder / index.file_name(row)
    height, width = index.image_sizes[row].tolist()
    try:
        size = read_image(folder, index.file_name(row), exif).shape[:2]
    except ImageError as error:
        return Finding(str(folder), subject, "image", str(error))
    if size != (height, width):
        return Finding(str(path), subject, "size", wrong_size(path, size, (height, width), exif))
    orientation = orientation_of(read_file(path).tobytes())
    if orientation == UPRIGHT:
        return None
    turned = "turned so" if exif == "turn" else "which is ignored, as COCO does"
    return Finding(str(path), subject, "exif", f"has the EXIF orientation {orientation}, {turned}", False)
