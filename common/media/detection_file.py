# SPDX-License-Identifier: Apache-2.0
"""Boxes of people from a file (`--detfile`), as a detector of `common.media.detectors`. It is one of

    [{"image_id": "a.jpg", "bbox": [left, top, width, height], "score": 0.9, "idx": 3}, ...]   published; idx may lack
    [{"image_id": 139, "category_id": 1, "bbox": [...], "score": 0.9}, ...]                    COCO's results
    people.jsonl, a line a frame, as the demos write it (`common.people`)

A image is known by its path, else by its name where the file has that once, else by the number that ends its name.
A frame of a video is known by its place, from 0: 7, or "7.jpg".
"""

import json
import re
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from common import files
from common.cli import UserError
from common.coco import fields
from common.coco.fields import BOX_NUMBERS
from common.media.detectors import Boxes, sound
from common.media.source import IMAGE_SUFFIXES, Frame, Source
from common.people import PERSON_CATEGORY

LINES = ".jsonl"
LAST_DIGITS = re.compile(r"[0-9]+$")  # the number that ends an image's name
SHAPES = '[{"image_id": "a.jpg", "bbox": [left, top, width, height], "score": 0.9}], or people.jsonl, is needed'
Key = str | int | tuple[str, int]  # an image's path or number, or a video's name and the place of a frame


class _Entry(NamedTuple):
    box: list[float]
    score: float
    id: Any


class DetectionFile:
    """A Detector that has read its answers from a file."""

    def __init__(self, path: str | Path, min_score: float = 0.0) -> None:
        """Boxes below `min_score` are not taken. Raises UserError, naming file and entry, for no detection file."""
        self.path, self.min_score = Path(path), min_score
        self.found: dict[Key, list[_Entry]] = defaultdict(list)
        read = self._lines() if self.path.suffix == LINES else self._list()
        for key, entries in read:
            self.found[key] += [entry for entry in entries if entry.score >= min_score]
        self.paths = [key for key in self.found if isinstance(key, str)]
        self.by_name: dict[str, list[str]] = defaultdict(list)
        for key in self.paths:
            self.by_name[Path(key).name].append(key)

    def __call__(self, frames: Sequence[Frame]) -> list[Boxes]:
        """See `detectors.Detector`; an image that the file does not name has nobody in it."""
        return [self._boxes(frame) for frame in frames]

    def _boxes(self, frame: Frame) -> Boxes:
        key = self._key(frame.name, frame.index)
        entries = [] if key is None else self.found[key]
        return sound([one.box for one in entries], [one.score for one in entries], frame.image,
                     [one.id for one in entries])  # fmt: skip

    def images(self) -> tuple[Path, ...]:
        """The images that the file names, in its order. Raises UserError where it names none."""
        if not self.paths:
            raise UserError(f"{self.path}: has no names of images; say where they are: --source")
        return tuple(Path(path) for path in self.paths)

    def check(self, source: Source) -> None:
        """Raises UserError where the file is of other images, or of another video."""
        if source.moves:
            name = str(source.capture)
            videos = {Path(key[0]).name for key in self.found if isinstance(key, tuple)}
            known = Path(name).name in videos or any(Path(str(key)).stem.isdecimal() for key in self.found)
        else:
            name = str(source.images[0])
            known = any(self._key(str(path), place) is not None for place, path in enumerate(source.images))
        if not known:
            first = next(iter(self.found), "nothing")
            raise UserError(f"{self.path}: of other images: it has {first}, not {name}; name the file of these")

    def _key(self, name: str, index: int) -> Key | None:
        """By what the file knows a frame; None where it does not."""
        short = Path(name).name
        if Path(name).suffix.lower() in IMAGE_SUFFIXES:
            same_name = self.by_name.get(short, [])
            number = LAST_DIGITS.findall(Path(name).stem)
            candidates: list[Key] = [name, *(same_name if len(same_name) == 1 else ()), Path(name).stem]
            candidates += map(int, number)
        else:
            candidates = [(short, index), f"{index}.jpg", index]
        return next((key for key in candidates if key in self.found), None)

    def _list(self) -> Iterator[tuple[Key, list[_Entry]]]:
        content = files.read_json(self.path)
        if not isinstance(content, list):
            raise UserError(f"{self.path}: no list of detections; {SHAPES}")
        for place, entry in enumerate(content):
            yield from self._checked(f"entry {place}", entry, _of_list)

    def _lines(self) -> Iterator[tuple[Key, list[_Entry]]]:
        try:
            with self.path.open(encoding="utf-8-sig") as file:
                for number, line in enumerate(file, 1):
                    yield from self._checked(f"line {number}", line, _of_line)
        except OSError as error:
            raise UserError(f"{self.path}: {error.strerror}") from error
        except UnicodeDecodeError as error:
            raise UserError(f"{self.path}: not a text (byte {error.start}); {SHAPES}") from error

    def _checked(
        self, place: str, content: Any, read: Callable[[Any], Iterator[tuple[Key, list[_Entry]]]]
    ) -> Iterator[tuple[Key, list[_Entry]]]:
        try:
            yield from read(content)
        except KeyError as error:
            raise UserError(f"{self.path}: {place} has no {error}; {SHAPES}") from error
        except (*fields.FAULTS, RecursionError) as error:
            raise UserError(f"{self.path}: {place}: {error}; {SHAPES}") from error


def _of_list(entry: Any) -> Iterator[tuple[Key, list[_Entry]]]:
    fields.need_object(entry)
    if fields.category_of(entry.get("category_id", PERSON_CATEGORY)) == PERSON_CATEGORY:
        image = entry["image_id"]
        key: Key = image if isinstance(image, str) else fields.whole(image, "image_id")
        yield key, [_Entry(_four(entry["bbox"]), float(entry["score"]), entry.get("idx"))]


def _of_line(line: str) -> Iterator[tuple[Key, list[_Entry]]]:
    content = json.loads(line)
    fields.need_object(content)
    source = str(content["source"])
    is_picture = Path(source).suffix.lower() in IMAGE_SUFFIXES
    key: Key = source if is_picture else (Path(source).name, fields.whole(content["frame"], "frame"))
    people = content["people"]
    yield key, [_Entry(_four(person["box"]), float(person["score"]), person["id"]) for person in people]


def _four(box: Any) -> list[float]:
    numbers = fields.numbers_of({"box": box}, "box").tolist()
    if len(numbers) != BOX_NUMBERS:
        raise ValueError(f"a box has {len(numbers)} numbers")
    return numbers
