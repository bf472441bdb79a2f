# SPDX-License-Identifier: Apache-2.0
"""The list of network inputs that benchmark.py reads.

    python gen_dataset_info.py bin ./output/prep_dataset ./output/prep_bin.info 640 368
    python gen_dataset_info.py jpg /data/coco/val2017 ./output/jpg.info

One line a file, sorted by name: `{index} {path} {width} {height}`; a path begins as the folder was given. With `bin`,
width and height are those of the network's input, and every file must have that size.
"""

import os
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import common.coco.images
from common.cli import UserError, run
from common.files import write_atomically
from OpenPose_infer.config import CHANNELS

import numpy as np

USAGE = "usage: gen_dataset_info.py bin FOLDER INFO_FILE WIDTH HEIGHT | jpg FOLDER INFO_FILE"
THREADS = 4  # that read images for their sizes


def main() -> None:
    """Reads the words, writes the list, says how many lines."""
    words = sys.argv[1:]
    if {"-h", "--help"} & set(words):
        print(f"{USAGE}\n\n{__doc__}")  # noqa: T201
        return
    lines = info_lines(words)
    write_atomically(words[2], "".join(f"{line}\n" for line in lines).encode("utf-8", "surrogateescape"))
    print(f"{words[2]}: {len(lines)} files")  # noqa: T201


def info_lines(words: Sequence[str]) -> list[str]:
    """The lines that the words of the command line ask for. Raises UserError, also where a file has another size."""
    if len(words) == 5 and words[0] == "bin":
        width, height = (_pixels(word) for word in words[3:])
        paths = _files(words[1], ".bin")
        _check_sizes(paths, width, height)
        sizes = [(width, height)] * len(paths)
    elif len(words) == 3 and words[0] == "jpg":
        paths = _files(words[1], ".jpg")
        with ThreadPoolExecutor(THREADS) as pool:
            sizes = list(pool.map(_size_of_image, paths))
    else:
        raise UserError(f"{' '.join(words) or 'no words'}: {USAGE}")
    return [f"{index} {path} {size[0]} {size[1]}" for index, (path, size) in enumerate(zip(paths, sizes, strict=True))]


def _pixels(word: str) -> int:
    if not word.isdecimal() or int(word) == 0:
        raise UserError(f"{word}: WIDTH and HEIGHT are numbers of pixels, 640 368 as published")
    return int(word)


def _files(folder: str, suffix: str) -> list[str]:
    """Sorted, each with the folder as it was given."""
    try:
        names = sorted(name for name in os.listdir(folder) if name.endswith(suffix) and not name.startswith("."))
    except OSError as error:
        raise UserError(f"{folder}: {error.strerror}; OpenPose_preprocess.py --save_path makes it") from error
    if not names:
        raise UserError(f"{folder}: no {suffix} files; run OpenPose_preprocess.py --save_path={folder} first")
    return [os.path.join(folder, name) for name in names]


def _check_sizes(paths: list[str], width: int, height: int) -> None:
    expected = CHANNELS * height * width * np.dtype(np.float32).itemsize
    wrong = [path for path in paths if os.path.getsize(path) != expected]
    if wrong:
        sizes = f"{os.path.getsize(wrong[0])} bytes, {CHANNELS} x {height} x {width} float32 are {expected}"
        raise UserError(
            f"{wrong[0]}: {sizes} ({len(wrong)} of {len(paths)} files); run OpenPose_preprocess.py again, "
            "or give the right WIDTH HEIGHT"
        )


def _size_of_image(path: str) -> tuple[int, int]:
    height, width = common.coco.images.read_image(Path(path).parent, Path(path).name).shape[:2]
    return width, height


if __name__ == "__main__":
    run(main)
