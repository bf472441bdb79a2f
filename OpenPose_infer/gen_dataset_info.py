# SPDX-License-Identifier: Apache-2.0
"""The list of network inputs that benchmark.py reads.

    python gen_dataset_info.py bin ./output/prep_dataset ./output/prep_bin.info 640 368
    python gen_dataset_info.py jpg /data/coco/val2017 ./output/jpg.info

One line a file, sorted by name: `{index} {path} {width} {height}`; a path begins with the folder as given. With `bin`,
width and height are those of the network's input; benchmark.py checks that every file has that size.
"""

import os
import sys
from collections.abc import Sequence

import common.coco.images
from common.cli import UserError, run
from common.files import write_atomically

USAGE = "usage: gen_dataset_info.py bin FOLDER INFO_FILE WIDTH HEIGHT | jpg FOLDER INFO_FILE"


def main() -> None:
    """Reads the arguments, writes the list, prints the number of lines."""
    words = sys.argv[1:]
    if {"-h", "--help"} & set(words):
        print(f"{USAGE}\n\n{__doc__}")  # noqa: T201
        return
    lines = info_lines(words)
    write_atomically(words[2], "".join(lines).encode("utf-8", "surrogateescape"))
    print(f"{words[2]}: {len(lines)} files")  # noqa: T201


def info_lines(words: Sequence[str]) -> list[str]:
    """The lines for these arguments. Raises UserError, ImageError for an unreadable image."""
    num_words = {"bin": 5, "jpg": 3}.get(words[0] if words else "")
    if len(words) != num_words or not all(map(str.isdecimal, words[3:])):
        raise UserError(f"{' '.join(words) or 'no words'}: {USAGE}")
    folder, suffix = words[1], f".{words[0]}"
    try:
        names = sorted(name for name in os.listdir(folder) if name.endswith(suffix) and not name.startswith("."))
    except OSError as error:
        raise UserError(f"{folder}: {error.strerror}; OpenPose_preprocess.py --save_path makes it") from error
    if not names:
        raise UserError(f"{folder}: no {suffix} files; run OpenPose_preprocess.py --save_path={folder} first")
    lines = []
    for index, name in enumerate(names):
        width, height = words[3:] or common.coco.images.read_image(folder, name).shape[1::-1]
        lines.append(f"{index} {os.path.join(folder, name)} {width} {height}\n")
    return lines


if __name__ == "__main__":
    run(main)
