# SPDX-License-Identifier: Apache-2.0
"""Images -> network inputs in files, and pad.txt.

    python OpenPose_preprocess.py --src_path=/data/coco/val2017 --save_path=./output/prep_dataset \
        --pad_txt_path=./output/pad.txt

`save_path` receives, for each image, `<name without its last suffix>.bin`: 1 x 3 x 368 x 640 float32, BGR as
(pixel - 128) / 256, raw.
"""

import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import common.coco.images
import common.coco.reader
from common.cli import UserError, flag, parse, run
from common.coco.images import Exif, ImageError
from common.device import cpu_count
from common.files import write_atomically
from common.media.source import IMAGE_SUFFIXES
from common.skeleton import OPENPOSE
from Lightweight_OpenPose.predict import ValidationEstimator
from OpenPose_infer import pads
from OpenPose_infer.config import ALL_THREADS, RULE

from tqdm import tqdm


@dataclass(frozen=True)
class Config:
    """Images -> network inputs in .bin files, and pad.txt."""

    src_path: str = flag("folder of images", "")
    save_path: str = flag("folder for the .bin files", "")
    pad_txt_path: str = flag("file to write", "./output/pad.txt")
    annotations: str = flag("COCO file: only its images; empty: all images of the folder", "")
    exif: Exif = flag("images as stored (as COCO is annotated), or turned by EXIF", "ignore")
    on_bad_image: Literal["error", "skip"] = flag("an unreadable image: stop, or leave it out and count", "error")

    def check(self) -> None:
        """Raises UserError for values that contradict each other."""
        if not self.src_path or not self.save_path:
            raise UserError("--src_path (folder of images) and --save_path (folder for .bin files) are needed")
        if not Path(self.src_path).is_dir():
            raise UserError(f"--src_path={self.src_path}: no such folder")


def main() -> None:
    """Reads the flags, writes every .bin and pad.txt, prints how many."""
    config = parse(Config, {}, retired={**ALL_THREADS, "fresh": "every .bin is computed"})
    config.check()
    images = images_of(config)
    with ThreadPoolExecutor(cpu_count()) as pool:
        outcomes = pool.map(lambda image: preprocess(config, *image), images.items())
        found = list(tqdm(outcomes, total=len(images), unit="image", disable=None))
    if not (lines := list(filter(None, found))):
        raise UserError(f"{config.src_path}: none of {len(images)} images can be read")
    write_atomically(config.pad_txt_path, "".join(lines).encode("utf-8", "surrogateescape"))
    counts = f"{len(lines)} images, {len(images) - len(lines)} unreadable"
    print(f"{config.save_path}: {counts}; {config.pad_txt_path}: {len(lines)} lines")  # noqa: T201


def images_of(config: Config) -> dict[str, str]:
    """The images to read, sorted, relative to the folder, by the name of their .bin: without the last suffix.

    (The publication cut names at the first dot.) Raises UserError for none, or two that share a .bin.
    """
    if config.annotations:
        index = common.coco.reader.load(config.annotations, OPENPOSE.num_keypoints)
        names = [index.file_name(row) for row in range(index.num_images)]
    else:
        entries = (entry for entry in os.scandir(config.src_path) if entry.is_file())
        names = [entry.name for entry in entries if Path(entry.name).suffix.lower() in IMAGE_SUFFIXES]
    if not names:
        raise UserError(f"{config.annotations or config.src_path}: no images ({', '.join(sorted(IMAGE_SUFFIXES))})")
    images: dict[str, str] = {}
    for name in sorted(names):
        if (other := images.setdefault(target := f"{Path(name).stem}.bin", name)) is not name:
            raise UserError(f"{config.src_path}: {other} and {name} would both become {target}; rename one")
    return images


def preprocess(config: Config, target: str, name: str) -> str | None:
    """Writes the .bin of one image and returns its line of pad.txt; None for an unreadable one, which has no .bin."""
    path = Path(config.save_path) / target
    try:
        image = common.coco.images.read_image(config.src_path, name, config.exif)
    except ImageError as error:
        path.unlink(missing_ok=True)
        if config.on_bad_image == "error":
            raise UserError(f"{error}; --on_bad_image=skip leaves such images out") from error
        tqdm.write(f"skipped: {error}")
        return None
    place = RULE.letterbox((image.shape[0], image.shape[1]))
    write_atomically(path, ValidationEstimator.to_input(image, place).tobytes())
    return pads.line(name, place)


if __name__ == "__main__":
    run(main)
