# SPDX-License-Identifier: Apache-2.0
"""AlphaPose's JSON result files: alphapose-results.json in three forms.

default (also `coco`): a list of
    {"image_id": "a.jpg", "category_id": 1, "keypoints": [x, y, score, ...], "score": 2.1, "box": [x, y, w, h],
     "idx": 3}
cmu, open: an object of images with 18 points in OpenPose's order, the same also image by image in sep-json/:
    cmu  {"a.jpg": {"version": "AlphaPose v0.3", "bodies": [{"joints": [x, y, score, ...]}]}}
    open {"a.jpg": {"version": "AlphaPose v0.3", "people": [{"pose_keypoints_2d": [x, y, score, ...]}]}}

Lengths are original pixels. An image without people is not named. The file is whole JSON after each image.
"""

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from common import files
from common.arrays import FloatArray
from common.cli import UserError
from common.media.source import Frame
from common.media.writers import utf8_name
from common.people import PERSON_CATEGORY, People
from common.skeleton import OPENPOSE

import numpy as np

RESULT_FILE = "alphapose-results.json"
VERSION = "AlphaPose v0.3"
Form = Literal["default", "coco", "cmu", "open"]
IMAGE_FORMS = {"cmu": ("bodies", "joints"), "open": ("people", "pose_keypoints_2d")}


def untracked_ids(members: Sequence[Sequence[int]]) -> list[Any]:
    """Placeholder identities without tracking: one 0 for each member of a group that the pose NMS merged.

    [0.0] for a single person, [[0.0], [0.0]] for two that were merged: the form of the original.
    """
    return [[0.0] if len(group) == 1 else [[0.0]] * len(group) for group in members]


class ResultFile:
    """Writes alphapose-results.json in a folder, image after image; to be used in a `with` statement."""

    def __init__(
        self, folder: Path, form: Form = "default", numbered_images: bool = False, of_video: bool = False
    ) -> None:
        """`numbered_images`: image_id is the number that ends the file's name, as COCO's tools want it (`--eval`).

        `of_video`: frames are named by their places, 0.jpg, 1.jpg. An older result file is replaced.
        """
        self.folder, self.form, self.numbered_images, self.of_video = folder, form, numbered_images, of_video
        self.brackets = b"{}" if form in IMAGE_FORMS else b"[]"
        self.images, self.separate = set[str](), set[str]()
        self.file = (folder / RESULT_FILE).open("wb", buffering=0)
        self.file.write(self.brackets)

    def __enter__(self) -> "ResultFile":
        return self

    def __exit__(self, *error: object) -> None:
        self.file.close()

    def write(self, frame: Frame, people: People) -> None:
        """Adds the people of a frame.

        Raises UserError where a name ends in no number although --eval needs numbers, or two images have one name in a
        form that tells images apart by their names.
        """
        if not len(people):
            return
        name = f"{frame.index}.jpg" if self.of_video else utf8_name(Path(frame.name).name)
        image_id = _number(name) if self.numbered_images else name
        if self.form in IMAGE_FORMS:
            self._append(self._image(name, str(image_id), people))
            return
        rows = zip(people.keypoints, people.scores.tolist(), people.boxes.tolist(), people.ids, strict=True)
        entries = [
            {"image_id": image_id, "category_id": PERSON_CATEGORY, "keypoints": keypoints.ravel().tolist()}
            | {"score": score, "box": box, "idx": name_of_person}
            for keypoints, score, box, name_of_person in rows
        ]
        self._append(json.dumps(entries)[1:-1])

    def _append(self, entries: str) -> None:
        """Writes over the last bracket and behind it once more; what does not arrive whole is cut off again."""
        end = self.file.seek(-1, os.SEEK_END)
        content = (b", " if end >= len(self.brackets) else b"") + entries.encode() + self.brackets[1:]
        try:
            while content:
                content = content[self.file.write(content) :]
        except BaseException:  # a full disk, an interrupt
            self.file.truncate(end)
            os.pwrite(self.file.fileno(), self.brackets[1:], end)
            raise

    def _image(self, name: str, key: str, people: People) -> str:
        """The entry of an image, which is also written alone."""
        if key in self.images:
            other = "needs a name for each, --format=coco does not"
            raise UserError(f"a second image {name}: --format={self.form} {other}")
        plural, single = IMAGE_FORMS[self.form]
        points = openpose_points(people.keypoints).reshape(len(people), -1).tolist()
        text = json.dumps({"version": VERSION, plural: [{single: person} for person in points]})
        stem = key if Path(key).stem in self.separate else Path(key).stem  # a.jpg and a.png: a.json and a.png.json
        self.images.add(key)
        self.separate.add(stem)
        files.write_atomically(self.folder / "sep-json" / f"{stem}.json", text.encode())
        return f"{json.dumps(key)}: {text}"


def _number(name: str) -> int:
    """7 for frame_7.jpg, 139 for COCO_val2014_000000000139.jpg."""
    last = Path(name).stem.split("_")[-1]
    if not last.isdecimal():
        raise UserError(f"{name}: --eval needs image names that end in a number (frame_7.jpg): rename or drop --eval")
    return int(last)


def openpose_points(keypoints: FloatArray) -> FloatArray:
    """(M, 17, 3) COCO keypoints -> (M, 18, 3) OpenPose's points: the neck is the mean of the shoulders, its score too.

    Raises UserError for people of another number of keypoints.
    """
    if keypoints.shape[1] != OPENPOSE.num_keypoints:
        counts = f"{OPENPOSE.num_keypoints} keypoints of COCO, not {keypoints.shape[1]}"
        raise UserError(f"--format=cmu and --format=open are for the {counts}: choose --format=coco")
    sources = [OPENPOSE.derived.get(point, (point,)) for point in OPENPOSE.points]
    places = [[OPENPOSE.keypoints.index(name) for name in names] for names in sources]
    return np.stack([keypoints[:, rows].mean(axis=1) for rows in places], axis=1)
