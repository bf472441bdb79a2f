# SPDX-License-Identifier: Apache-2.0
"""Images -> network inputs in files, and pad.txt.

    python OpenPose_preprocess.py --src_path=/data/coco/val2017 --save_path=./output/prep_dataset \
        --pad_txt_path=./output/pad.txt

`save_path` receives, for each image, `<name without its last suffix>.bin`: 1 x 3 x 368 x 640 float32, BGR as
(pixel - 128) / 256, raw. A run that was stopped goes on where it was: a whole .bin, newer than its image, is not
computed again.
"""

import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import common.coco.images
import common.coco.reader
from common import files
from common.cli import UserError, flag, parse, run
from common.coco.images import Exif, ImageError
from common.media.source import IMAGE_SUFFIXES
from common.parallel import in_order
from common.skeleton import OPENPOSE
from Lightweight_OpenPose.predict import Letterbox, to_input
from OpenPose_infer import pads
from OpenPose_infer.config import CHANNELS, HEIGHT, RULE, WIDTH, threads

import numpy as np
from tqdm import tqdm

BIN_BYTES = CHANNELS * HEIGHT * WIDTH * np.dtype(np.float32).itemsize
READ_AHEAD = 2  # images a thread that may wait: memory stays flat however many there are


@dataclass(frozen=True)
class Config:
    """Images -> network inputs in .bin files, and pad.txt."""

    src_path: str = flag("folder of images", "")
    save_path: str = flag("folder for the .bin files", "")
    pad_txt_path: str = flag("file to write", "./output/pad.txt")
    annotations: str = flag("COCO file: only its images; empty: all images of the folder", "")
    num_workers: int = flag("threads; -1: one a core", -1, least=-1, most=1024)
    exif: Exif = flag("images as they are stored (so COCO is annotated), or turned as EXIF says", "ignore")
    on_bad_image: Literal["error", "skip"] = flag("an unreadable image: stop, or leave it out and count", "error")
    fresh: bool = flag("compute every .bin again", False)

    def check(self) -> None:
        """Raises UserError where values cannot be meant."""
        if not self.src_path or not self.save_path:
            raise UserError("--src_path (folder of images) and --save_path (folder for .bin files) are needed")
        if not Path(self.src_path).is_dir():
            raise UserError(f"--src_path={self.src_path}: no such folder")


@dataclass(frozen=True)
class Outcome:
    """What became of an image: its place in the network's input, or the error; `old`: its .bin was there."""

    name: str
    place: Letterbox | None = None
    old: bool = False
    error: ImageError | None = None


def main() -> None:
    """Reads the flags, writes every .bin and pad.txt, says how many."""
    config = parse(Config, {})
    config.check()
    num_threads = threads(config.num_workers)
    names, target = image_names(config), Path(config.save_path)
    _make_folder(target)

    def work(name: str) -> Outcome:
        return preprocess(Path(config.src_path), name, target, config.fresh, config.exif)

    lines, skipped, old = [], 0, 0
    with ThreadPoolExecutor(num_threads) as pool:
        outcomes = in_order(pool, work, names, READ_AHEAD * num_threads)
        for outcome in tqdm(outcomes, total=len(names), unit="image", disable=None):
            if outcome.place is not None:
                lines.append(pads.line(outcome.name, outcome.place))
            if outcome.error is not None:
                _refuse(outcome.error, config.on_bad_image)
            skipped, old = skipped + (outcome.place is None), old + outcome.old
    if not lines:
        raise UserError(f"{config.src_path}: none of {len(names)} images can be read")
    pads.write(Path(config.pad_txt_path), lines)
    print(  # noqa: T201
        f"{target}: {len(lines)} images, {old} of them from before, {skipped} unreadable; "  # noqa: T201
        f"{config.pad_txt_path}: {len(lines)} lines{_others(target, names)}"
    )


def _refuse(error: ImageError, on_bad_image: str) -> None:
    if on_bad_image == "error":
        raise UserError(f"{error}; --on_bad_image=skip leaves such images out") from error
    tqdm.write(f"skipped: {error}")


def _others(target: Path, names: list[str]) -> str:
    """A word on files of the folder that are not of these images: the info file would hold them too."""
    others = {path.name for path in target.glob("*.bin")} - {bin_name(name) for name in names}
    return f"\nnote: {target} holds {len(others)} .bin files of other images, such as {min(others)}" if others else ""


def image_names(config: Config) -> list[str]:
    """The images to read, sorted, relative to the folder. Raises UserError for none, or two that share a .bin."""
    if config.annotations:
        index = common.coco.reader.load(config.annotations, OPENPOSE.num_keypoints)
        names = sorted(index.file_name(row) for row in range(index.num_images))
    else:
        entries = (entry for entry in os.scandir(config.src_path) if entry.is_file())
        names = sorted(entry.name for entry in entries if Path(entry.name).suffix.lower() in IMAGE_SUFFIXES)
    if not names:
        raise UserError(f"{config.annotations or config.src_path}: no images ({', '.join(sorted(IMAGE_SUFFIXES))})")
    owners: dict[str, str] = {}
    for name in names:
        if (other := owners.setdefault(bin_name(name), name)) is not name:
            raise UserError(f"{config.src_path}: {other} and {name} would both become {bin_name(name)}; rename one")
    return names


def bin_name(name: str) -> str:
    """The name of an image's .bin: without the last suffix (the publication cut at the first dot)."""
    return f"{Path(name).stem}.bin"


def preprocess(folder: Path, name: str, target: Path, fresh: bool = False, exif: Exif = "ignore") -> Outcome:
    """Writes the .bin of one image into `target`, unless a whole one is there.

    Raises UserError where it cannot be written. An unreadable image is named in the outcome, and leaves no .bin.
    """
    path = target / bin_name(name)
    try:
        image = common.coco.images.read_image(folder, name, exif)
    except ImageError as error:
        path.unlink(missing_ok=True)
        return Outcome(name, error=error)
    place = RULE.letterbox(image.shape[:2])
    old = not fresh and _is_whole(path, folder / name)
    if not old:
        files.write_atomically(path, np.ascontiguousarray(to_input(image, place), np.float32).tobytes())
    return Outcome(name, place, old)


def _is_whole(path: Path, image: Path) -> bool:
    try:
        found = path.stat()
        return found.st_size == BIN_BYTES and found.st_mtime >= image.stat().st_mtime
    except FileNotFoundError:
        return False


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        files.remove_unfinished(folder)
    except OSError as error:
        raise UserError(f"--save_path={folder}: {error.strerror}") from error


if __name__ == "__main__":
    run(main)
