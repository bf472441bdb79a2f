# SPDX-License-Identifier: Apache-2.0
"""Prepared labels are those of the original program, to the last sample, and a file of them runs nothing."""

import gzip
import json
import os
import pickle
import random
from pathlib import Path

import common.coco.images
from common.cli import UserError
from common.coco.mini import dataset
from Lightweight_OpenPose import labels

import numpy as np
import pytest

SIZE = labels.NET_INPUT_SIZE


@pytest.fixture(scope="module")
def annotations(tmp_path_factory) -> Path:
    folder = dataset.write(tmp_path_factory.mktemp("drawn"), 18, 0)
    path = common.coco.images.annotation_file(folder, "train")
    content = json.loads(path.read_text())
    random.Random(1).shuffle(content["annotations"])  # as in COCO: not image by image
    path.write_text(json.dumps(content))
    return path


@pytest.fixture(scope="module")
def prepared(annotations) -> labels.TrainLabels:
    return labels.build(annotations)


def assert_same(left: labels.TrainLabels, right: labels.TrainLabels) -> None:
    assert (left.net_input_size, left.source, len(left)) == (right.net_input_size, right.source, len(right))
    np.testing.assert_array_equal(left.main, right.main)
    for name, array in vars(left.index).items():
        np.testing.assert_array_equal(array, vars(right.index)[name], err_msg=name)


def items_of(prepared: labels.TrainLabels) -> list[dict]:
    """The samples as the original's dicts: `v` 2 absent, 0 hidden, 1 visible; crowds as run lengths."""
    index, items = prepared.index, []
    for sample, (main, image) in enumerate(zip(prepared.main, prepared.images, strict=True)):
        height, width = index.image_sizes[image].tolist()
        people = index.people(int(image))
        crowds = [row for row in range(people.start, people.stop) if index.is_crowd[row]]
        runs = [index.runs[index.run_offsets[row] : index.run_offsets[row + 1]].tolist() for row in crowds]
        items.append(
            {
                "img_paths": index.file_name(int(image)),
                "img_width": width,
                "img_height": height,
                "image_id": int(index.image_ids[image]),
                "segmentations": [{"counts": counts, "size": [height, width]} for counts in runs],
                "processed_other_annotations": [person_of(prepared, row) for row in prepared.others(sample)],
                **person_of(prepared, main),
            }
        )
    return items


def person_of(prepared: labels.TrainLabels, row: int) -> dict:
    index = prepared.index
    left, top, width, height = index.boxes[row].tolist()
    return {
        "objpos": [left + width / 2, top + height / 2],
        "bbox": [left, top, width, height],
        "segment_area": float(index.areas[row]),
        "scale_provided": height / prepared.net_input_size,
        "num_keypoints": int(index.num_keypoints[row]),
        "keypoints": [[x, y, (2, 0, 1)[int(v)]] for x, y, v in index.keypoints[row].tolist()],
    }


# --- who is trained on ---


def test_golden_labels(shared):
    prepared = labels.build(common.coco.images.annotation_file(shared / "data" / "coco-mini", "train"))
    with gzip.open(shared / "golden" / "lightweight_openpose" / "prepared_labels.json.gz") as file:
        golden = json.load(file)
    ours = items_of(prepared)
    for item in golden:
        del item["image_sha256"]
    for image_id in {item["image_id"] for item in golden}:
        expected = [item for item in golden if item["image_id"] == image_id]
        assert [item for item in ours if item["image_id"] == image_id] == expected


@pytest.mark.parametrize(("split", "samples", "images"), [("train", 68, 25), ("val", 56, 29)])
def test_golden_counts(shared, split, samples, images):
    prepared = labels.build(common.coco.images.annotation_file(shared / "data" / "coco-mini", split))
    assert (len(prepared), len(np.unique(prepared.images))) == (samples, images)


def person(id_: int, x: float, **changes) -> dict:
    points = [x, 50, 2] * 17
    box = {"bbox": [x - 20, 10, 40, 100], "area": 2000, "num_keypoints": 17, "iscrowd": 0}
    return {"id": id_, "image_id": 1, "keypoints": points, "category_id": 1, **box, **changes}


def build(folder: Path, *people: dict, **options) -> labels.TrainLabels:
    path = folder / "few.json"
    images = [{"id": 1, "file_name": "a.jpg", "height": 200, "width": 300}]
    path.write_text(json.dumps({"images": images, "annotations": people}))
    return labels.build(path, **options)


def main_ids(prepared: labels.TrainLabels) -> list[int]:
    return prepared.index.annotation_ids[prepared.main].tolist()


def test_limits_are_exact(tmp_path):
    few = [50, 50, 2] * 4 + [0, 0, 0] * 13
    enough = [50, 50, 2] * 5 + [0, 0, 0] * 12
    prepared = build(
        tmp_path,
        person(1, 50, keypoints=few, num_keypoints=4),
        person(2, 50, keypoints=enough, num_keypoints=5, area=32 * 32),
        person(3, 50 + 0.3 * 40 - 0.01),  # nearer than 0.3 of the width of person 2
        person(4, 50 + 0.3 * 40),
        person(5, 150, area=32 * 32 - 0.01),
        person(6, 155),  # near to person 5, who is no sample
        person(7, 250, iscrowd=1, segmentation=[[200, 0, 300, 0, 300, 100]]),
        person(8, 250, keypoints=[0] * 51, num_keypoints=0),
    )
    assert main_ids(prepared) == [2, 4, 6]
    others = prepared.index.annotation_ids[prepared.others(0)].tolist()
    assert others == [1, 3, 4, 5, 6]
    assert prepared.scale_provided(0) == 100 / 368
    assert common.coco.images.crowd_mask(prepared.index, 0) is not None
    labels.write(prepared, tmp_path / "few.pkl")
    assert items_of(labels.read(tmp_path / "few.pkl")) == items_of(prepared)
    assert build(tmp_path, person(1, 50), net_input_size=100).scale_provided(0) == 1.0


def test_who_needs_how_many_keypoints(tmp_path):
    assert [labels.min_keypoints(number) for number in (1, 3, 4, 7, 14, 17, 18, 133)] == [1, 1, 2, 3, 5, 5, 5, 5]
    three = {"keypoints": [50, 50, 2] * 3, "num_keypoints": 3}
    assert main_ids(build(tmp_path, person(1, 50, **three), num_keypoints=3)) == [1]
    with pytest.raises(UserError, match="9 keypoint numbers, not 3 x 17"):
        build(tmp_path, person(1, 50, **three), num_keypoints=17)


def test_nobody_to_train_on_is_an_error(tmp_path):
    with pytest.raises(UserError, match=r"few\.json: no person with 5 keypoints"):
        build(tmp_path, person(1, 50, area=5))


# --- the file ---


def test_file_holds_the_labels(prepared, tmp_path):
    path = tmp_path / "labels.pkl"
    labels.write(prepared, path)
    assert_same(labels.read(path), prepared)


def test_a_pickle_is_neither_read_nor_written_over(tmp_path, annotations, prepared):
    """What the original program prepares is one, and what could run something."""
    path = tmp_path / "original.pkl"
    path.write_bytes(pickle.dumps(items_of(prepared)))
    for act in (lambda: labels.read(path), lambda: labels.is_current(path, annotations)):
        with pytest.raises(UserError, match=r"original\.pkl: a pickle, as the original .* prepare it again"):
            act()


def test_other_content_is_refused(tmp_path, prepared):
    path, good = tmp_path / "labels.pkl", tmp_path / "good.pkl"
    labels.write(prepared, good)
    whole = good.read_bytes()
    for content in (b"", b"text", *(whole[: int(share * len(whole))] for share in (0.001, 0.3, 0.999))):
        path.write_bytes(content)
        with pytest.raises(UserError, match=r"labels\.pkl: not prepared labels, or cut short .*prepare it again"):
            labels.read(path)
    for arrays in ({}, {"main": np.array([print], object)}):
        np.savez(path.with_suffix(".npz"), **arrays)
        path.with_suffix(".npz").replace(path)
        with pytest.raises(UserError, match=r"labels\.pkl: not prepared labels"):
            labels.read(path)
    for main in (np.array([10**6], np.int32), np.array([-1], np.int32)):
        labels.write(labels.TrainLabels(prepared.index, main, SIZE, prepared.source), path)
        with pytest.raises(UserError, match="samples of unknown people"):
            labels.read(path)
    with pytest.raises(UserError, match=r"none\.pkl: No such file.*prepare it again"):
        labels.read(tmp_path / "none.pkl")
    os.mkfifo(tmp_path / "pipe.pkl")
    with pytest.raises(UserError, match="pipe.pkl: no regular file"):
        labels.read(tmp_path / "pipe.pkl")


def test_no_flipped_byte_goes_unnoticed(annotations, prepared, tmp_path):
    path = tmp_path / "labels.pkl"
    labels.write(prepared, path)
    whole = path.read_bytes()
    moments = random.Random(2)
    for _ in range(200):
        damaged = bytearray(whole)
        damaged[moments.randrange(len(whole))] ^= 1 << moments.randrange(8)
        path.write_bytes(damaged)
        try:
            assert_same(labels.read(path), prepared)  # a byte that says nothing, such as a time
        except UserError:
            assert not labels.is_current(path, annotations)


def test_stale_labels_are_told_from_current_ones(annotations, prepared, tmp_path):
    source, path = tmp_path / annotations.name, tmp_path / "labels.pkl"
    source.write_bytes(annotations.read_bytes())
    assert not labels.is_current(path, source)
    labels.write(labels.build(source), path)
    assert labels.is_current(path, source)
    assert not labels.is_current(path, source, net_input_size=256)
    assert not labels.is_current(path, annotations)  # of the same name and size, but another file
    os.utime(source, ns=(0, 5))
    assert not labels.is_current(path, source)
