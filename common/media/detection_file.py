# SPDX-License-Identifier: Apache-2.0
"""Boxes of people from a file (`--detections`), as a detector of `common.media.detectors`. It is one of

    [{"image_id": "a.jpg", "bbox": [left, top, width, height], "score": 0.9, "idx": 3}, ...]   published; idx may lack
    [{"image_id": 139, "category_id": 1, "bbox": [...], "score": 0.9}, ...]                    COCO's results
    people.jsonl, a line a frame, as the demos write it (`common.people`)

An image is matched by its path, else by its name if that is unique in the file, else by the number that ends its name.
A frame of a video is matched by its place, from 0: 7, or "7.jpg".
"""

import io
import json
import re
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from common import files
from common.cli import UserError
from common.coco import fields
from common.coco.evaluate import read_each, read_list
from common.media.detectors import Boxes, clip_boxes
from common.media.source import IMAGE_SUFFIXES, Frame, Source
from common.people import PERSON_CATEGORY

LINES = ".jsonl"
LAST_DIGITS = re.compile(r"[0-9]+$")  # the number that ends an image's name
SHAPES = '[{"image_id": "a.jpg", "bbox": [left, top, width, height], "score": 0.9}], or people.jsonl, is needed'
Key = str | int | tuple[str, int]  # an image's path or number, or a video's name and the place of a frame
Entry = tuple[Sequence[float], float, Any]  # box, score, id


class DetectionFile:
    """A Detector with boxes from a file."""

    def __init__(self, path: str | Path, min_score: float = 0.0) -> None:
        """Drops boxes below `min_score`. Raises UserError, naming file and entry, for an invalid detection file."""
        self.path = Path(path)
        self.found: dict[Key, list[Entry]] = defaultdict(list)
        is_lines = self.path.suffix == LINES
        for key, entries in filter(None, self._lines() if is_lines else read_list(self.path, _of_list, SHAPES)):
            self.found[key] += [entry for entry in entries if entry[1] >= min_score]
        self.paths = [key for key in self.found if isinstance(key, str)]
        names = Counter(Path(path).name for path in self.paths)
        self.by_name = {Path(path).name: path for path in self.paths if names[Path(path).name] == 1}

    def __call__(self, frames: Sequence[Frame]) -> list[Boxes]:
        """See `detectors.Detector`; an image that the file does not name has no people."""
        answers = []
        for frame in frames:
            key = self._key(frame.name, frame.index)
            entries = [] if key is None else self.found[key]
            boxes, scores, ids = ([entry[place] for entry in entries] for place in range(3))
            answers.append(clip_boxes(boxes, scores, frame.image, ids))
        return answers

    def images(self) -> tuple[Path, ...]:
        """The images that the file names, in its order. Raises UserError where it names none."""
        if not self.paths:
            raise UserError(f"{self.path}: has no names of images; say where they are: --source")
        return tuple(Path(path) for path in self.paths)

    def check(self, source: Source) -> None:
        """Raises UserError where the file is of other images, or of another video."""
        name = str(source.capture if source.moves else source.images[0])
        if source.moves:
            videos = {Path(key[0]).name for key in self.found if isinstance(key, tuple)}
            known = Path(name).name in videos or any(Path(str(key)).stem.isdecimal() for key in self.found)
        else:
            known = any(self._key(str(path), place) is not None for place, path in enumerate(source.images))
        if not known:
            first = next(iter(self.found), "nothing")
            raise UserError(f"{self.path}: of other images: it has {first}, not {name}; name the file of these")

    def _key(self, name: str, index: int) -> Key | None:
        """The file's key of a frame; None if it has none."""
        path, candidates = Path(name), list[Key]()
        if path.suffix.lower() in IMAGE_SUFFIXES:
            candidates = [name, self.by_name.get(path.name, name), path.stem]
            candidates += map(int, LAST_DIGITS.findall(path.stem))
        else:
            candidates = [(path.name, index), f"{index}.jpg", index]
        return next((key for key in candidates if key in self.found), None)

    def _lines(self) -> Iterator[tuple[Key, list[Entry]]]:
        try:
            lines = io.StringIO(files.read_bytes(self.path).decode("utf-8-sig"))
        except UnicodeDecodeError as error:
            raise UserError(f"{self.path}: not a text (byte {error.start}); {SHAPES}") from error
        return read_each(self.path, "line", 1, lines, _of_line, SHAPES)


def _of_list(entry: Any) -> tuple[Key, list[Entry]] | None:
    """None for another category."""
    fields.need_object(entry)
    if fields.category_of(entry.get("category_id", PERSON_CATEGORY)) != str(PERSON_CATEGORY):
        return None
    image = entry["image_id"]
    key: Key = image if isinstance(image, str) else fields.whole(image, "image_id")
    return key, [(fields.box_of(entry), float(entry["score"]), entry.get("idx"))]


def _of_line(line: str) -> tuple[Key, list[Entry]]:
    content = json.loads(line)
    fields.need_object(content)
    source = str(content["source"])
    is_image = Path(source).suffix.lower() in IMAGE_SUFFIXES
    key: Key = source if is_image else (Path(source).name, fields.whole(content["frame"], "frame"))
    return key, [(fields.box_of(one, "box"), float(one["score"]), one["id"]) for one in content["people"]]
