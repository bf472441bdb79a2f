# SPDX-License-Identifier: Apache-2.0
"""pad.txt: where each image lies in the network's input.

    000000019221.jpg 478 640 0 0 73 74

is: file name, height and width in original pixels, then the zeros around the image in input pixels: top, bottom,
left, right. The name may hold blanks.
"""

import dataclasses
import re
from collections.abc import Iterable
from pathlib import Path

from common.cli import UserError
from common.files import read_bytes, write_atomically
from Lightweight_OpenPose.predict import Letterbox
from OpenPose_infer.config import HEIGHT, RULE, WIDTH

_LINE = re.compile(r"(.+)" + r" (\d+)" * 6, re.ASCII)
CURE = "run OpenPose_preprocess.py again"
ROUNDING = 1  # pixel by which another program may have rounded the size of the scaled image


def line(name: str, place: Letterbox) -> str:
    """The line of an image, without its end."""
    top, left, bottom, right = place.pad_in
    return " ".join(map(str, (name, *place.size_img, top, bottom, left, right)))


def write(path: Path, lines: Iterable[str]) -> None:
    """Writes the file whole or not at all. Raises UserError where it cannot be written."""
    write_atomically(path, "".join(f"{text}\n" for text in lines).encode("utf-8", "surrogateescape"))


def read(path: Path) -> dict[str, Letterbox]:
    """Where every image lies, by the name of its file, in the file's order.

    Raises UserError, naming file and line, for a missing or empty file, a broken line, an image named twice, or pads
    between which no image of that size lies.
    """
    try:
        text = read_bytes(path).decode("utf-8", "surrogateescape")
    except UserError as error:
        raise UserError(f"{error}; OpenPose_preprocess.py writes it") from error
    places: dict[str, Letterbox] = {}
    for number, content in enumerate(text.replace("\r\n", "\n").split("\n"), 1):
        if content.strip():
            name, place = _parse(content, f"{path}, line {number}")
            if name in places:
                raise UserError(f"{path}, line {number}: {name} stands there twice; {CURE}")
            places[name] = place
    if not places:
        raise UserError(f"{path}: names no image; {CURE}")
    return places


def _parse(content: str, where: str) -> tuple[str, Letterbox]:
    match = _LINE.fullmatch(content)
    if match is None:
        expected = "a file name, height, width and the pads top, bottom, left, right"
        raise UserError(f"{where}: {content[:80]!r} is not {expected}, with one blank between; {CURE}")
    height, width, top, bottom, left, right = (int(number) for number in match.groups()[1:])
    if not (height and width):
        raise UserError(f"{where}: an image of {height} x {width} pixels; {CURE}")
    return match[1], _place((height, width), (top, left, bottom, right), where)


def _place(size_img: tuple[int, int], pad_in: tuple[int, int, int, int], where: str) -> Letterbox:
    """Our own letterbox of such an image, with the file's pads where these differ."""
    place = RULE.letterbox(size_img)
    top, left, bottom, right = pad_in
    inner = HEIGHT - top - bottom, WIDTH - left - right
    if max(abs(inner[axis] - place.scaled_in[axis]) for axis in (0, 1)) > ROUNDING:
        sizes = [f"{height} x {width}" for height, width in ((HEIGHT, WIDTH), size_img, place.scaled_in)]
        raise UserError(
            f"{where}: pads that leave {inner[0]} x {inner[1]} of {sizes[0]} pixels; "
            f"an image of {sizes[1]} takes {sizes[2]}; {CURE}"
        )
    return dataclasses.replace(place, pad_in=pad_in)
