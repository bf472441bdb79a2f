# SPDX-License-Identifier: Apache-2.0
"""The JSON files in which AlphaPose writes people down: alphapose-results.json in three forms.

default (also `coco`): a list of
    {"image_id": "a.jpg", "category_id": 1, "keypoints": [x, y, score, ...], "score": 2.1, "box": [x, y, w, h],
     "idx": 3}
cmu, open: an object of images with 18 points in OpenPose's order, the same also image by image in sep-json/:
    cmu  {"a.jpg": {"version": "AlphaPose v0.3", "bodies": [{"joints": [x, y, score, ...]}]}}
    open {"a.jpg": {"version": "AlphaPose v0.3", "people": [{"pose_keypoints_2d": [x, y, score, ...]}]}}

Lengths are original pixels. An image without people is not named. Nothing is held back: after each image the file on
disk is whole JSON, so whatever ends a run leaves the results of all images before.
"""

import itertools
import json
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

from common import files
from common.arrays import FloatArray
from common.cli import UserError
from common.media.source import Frame
from common.media.writers import utf8_name
from common.people import PERSON_CATEGORY, People
from common.skeleton import OPENPOSE

import numpy as np

RESULT_FILE = "alphapose-results.json"
SEPARATE_FOLDER = "sep-json"
VERSION = "AlphaPose v0.3"
LIST_FORMS = ("default", "coco")
IMAGE_FORMS = {"cmu": ("bodies", "joints"), "open": ("people", "pose_keypoints_2d")}
FORMS = (*LIST_FORMS, *IMAGE_FORMS)


def untracked_ids(members: Sequence[Sequence[int]]) -> list[Any]:
    """What stands for identities without tracking: a 0 a member of each group that the pose NMS merged.

    [0.0] for somebody alone, [[0.0], [0.0]] for two that became one: the form of the original.
    """
    return [[0.0] if len(group) == 1 else [[0.0]] * len(group) for group in members]


class ResultFile:
    """Writes alphapose-results.json in a folder, image after image; to be used in a `with` statement."""

    def __init__(
        self, folder: str | Path, form: str = "default", numbered_images: bool = False, of_video: bool = False
    ) -> None:
        """`form`: one of FORMS. `numbered_images`: image_id is the number that ends the file's name, as COCO's tools
        want it (`--eval`). `of_video`: frames are named by their places, 0.jpg, 1.jpg. An older result file is
        replaced. Raises UserError where the folder cannot be written.
        """
        if form not in FORMS:
            raise UserError(f"--format={form}: must be one of {', '.join(FORMS)}")
        self._folder, self._form, self._numbered = Path(folder), form, numbered_images
        self._of_video = of_video
        brackets = "[]" if form in LIST_FORMS else "{}"
        self._file = _GrowingJson(self._folder / RESULT_FILE, brackets[0], brackets[1])
        self._images, self._separate = set[str](), set[str]()

    def __enter__(self) -> "ResultFile":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def write(self, frame: Frame, people: People) -> None:
        """Adds the people of a frame.

        Raises UserError where the disk is full, a name ends in no number although --eval needs numbers, or two images
        have one name in a form that tells images apart by their names.
        """
        if not len(people):
            return
        name = f"{frame.index}.jpg" if self._of_video else utf8_name(Path(frame.name).name)
        key = _number(name) if self._numbered else name
        if self._form in LIST_FORMS:
            self._file.add(", ".join(json.dumps(entry) for entry in _list_entries(key, people)))
        else:
            self._write_image(name, str(key), people)

    def _write_image(self, name: str, key: str, people: People) -> None:
        if key in self._images:
            raise UserError(
                f"a second image {name}: --format={self._form} needs a name for each, --format=coco does not"
            )
        text = json.dumps(_image_entry(self._form, people))
        self._file.add(f"{json.dumps(key)}: {text}")
        self._images.add(key)
        files.write_atomically(self._folder / SEPARATE_FOLDER / f"{self._separate_name(key)}.json", text.encode())

    def _separate_name(self, key: str) -> str:
        """The image's name without its ending; where another image took that (a.jpg, a.png), the whole name."""
        candidates = itertools.chain((Path(key).stem, key), (f"{key}-{count}" for count in itertools.count(2)))
        chosen = next(name for name in candidates if name not in self._separate)
        self._separate.add(chosen)
        return chosen

    def close(self) -> None:
        """Ends the file, whatever has happened before; may be called twice."""
        self._file.close()


def _number(name: str) -> int:
    """7 for frame_7.jpg, 139 for COCO_val2014_000000000139.jpg."""
    last = Path(name).stem.split("_")[-1]
    if not last.isdecimal():
        raise UserError(f"{name}: --eval needs image names that end in a number (frame_7.jpg): rename or drop --eval")
    return int(last)


def _list_entries(key: str | int, people: People) -> list[dict[str, Any]]:
    keypoints = people.keypoints.reshape(len(people), -1)
    rows = zip(keypoints.tolist(), people.scores.tolist(), people.boxes.tolist(), people.ids, strict=True)
    return [
        {"image_id": key, "category_id": PERSON_CATEGORY, "keypoints": points, "score": score, "box": box, "idx": id_}
        for points, score, box, id_ in rows
    ]


def _image_entry(form: str, people: People) -> dict[str, Any]:
    plural, single = IMAGE_FORMS[form]
    points = openpose_points(people.keypoints).reshape(len(people), -1)
    return {"version": VERSION, plural: [{single: person} for person in points.tolist()]}


def openpose_points(keypoints: FloatArray) -> FloatArray:
    """(M, 17, 3) COCO keypoints -> (M, 18, 3) OpenPose's points: the neck is the mean of the shoulders, its score too.

    Raises UserError for people of another number of keypoints.
    """
    if keypoints.shape[1] != OPENPOSE.num_keypoints:
        counts = f"{OPENPOSE.num_keypoints} keypoints of COCO, not {keypoints.shape[1]}"
        raise UserError(f"--format=cmu and --format=open are for the {counts}: choose --format=coco")
    derived = [
        keypoints[:, [OPENPOSE.keypoints.index(source) for source in sources]].mean(1, dtype=np.float64, keepdims=True)
        for sources in OPENPOSE.derived.values()
    ]
    known = OPENPOSE.keypoints + tuple(OPENPOSE.derived)
    return np.concatenate([keypoints, *derived], axis=1)[:, [known.index(point) for point in OPENPOSE.points]]


class _GrowingJson:
    """A JSON list or object on disk that is whole after each entry: the end is written with it, and over it the next.

    Without a buffer: what an interrupt may leave half written is behind `_end` and is cut off by `close`.
    """

    def __init__(self, path: Path, opening: str, closing: str) -> None:
        self._path, self._closing = path, closing.encode()
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._file = path.open("wb", buffering=0)
        except OSError as error:
            raise self._failure(error) from error
        self._end = 0
        self._extend(opening.encode())
        self._begin = self._end

    def add(self, text: str) -> None:
        self._extend((text if self._end == self._begin else f", {text}").encode())

    def _extend(self, content: bytes) -> None:
        try:
            self._write(self._end, content + self._closing)
        except OSError as error:
            raise self._failure(error) from error
        self._end += len(content)

    def _write(self, place: int, content: bytes) -> None:
        self._file.seek(place)
        while content:
            content = content[self._file.write(content) :]

    def close(self) -> None:
        if self._file.closed:
            return
        try:
            self._write(self._end, self._closing)
            self._file.truncate()
            self._file.close()
        except OSError as error:
            raise self._failure(error) from error

    def _failure(self, error: OSError) -> UserError:
        return UserError(f"cannot write {self._path}: {error.strerror}; free space or name another folder")
