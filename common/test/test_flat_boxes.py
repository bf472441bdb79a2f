# SPDX-License-Identifier: Apache-2.0
"""People whose box has no width or height are left out of training, reported once, and end no training."""

import json
from pathlib import Path

from common.coco import images, reader
from common.coco.mini import dataset
from common.topdown.crops import labelled_people
from Lightweight_OpenPose import labels as lightweight
from OpenPose_MindSpore_port import gen_ignore_mask, ignore_masks
from OpenPose_MindSpore_port.config import LabelRules

import pytest


@pytest.fixture
def flat(tmp_path) -> tuple[Path, int]:
    """An annotation file in which one person, otherwise trained on, has a box of height 0; and that person's id."""
    path = images.annotation_file(dataset.write(tmp_path, 9, 0), "train")
    index = lightweight.build(path)
    number = int(index.index.annotation_ids[index.main[0]])
    content = json.loads(path.read_text())
    (person,) = [person for person in content["annotations"] if person["id"] == number]
    person["bbox"][3] = 0
    path.write_text(json.dumps(content))
    return path, number


def test_nobody_trains_on_a_flat_box(flat, capsys):
    path, number = flat
    built = lightweight.build(path)
    assert number not in built.index.annotation_ids[built.main] and number in built.index.annotation_ids
    assert number not in ignore_masks.load_learned(path, LabelRules()).annotation_ids
    index = reader.load(path)
    assert number not in index.annotation_ids[labelled_people(index).person_rows]
    note = f"people with a box of width or height 0, not used in training: 1 (the first: annotation {number})"
    assert capsys.readouterr().err.count(note) == 1


def test_a_flat_box_is_masked_where_it_lies(flat, tmp_path):
    path, _ = flat
    assert gen_ignore_mask.write(path, tmp_path / "masks", LabelRules()) > 0
