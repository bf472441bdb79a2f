# SPDX-License-Identifier: Apache-2.0
"""The index is the annotation file, masks are those of COCO's own tool, and what cannot be read says so."""

import functools
import json
import os
import random
import struct
from pathlib import Path

from common.cli import UserError
from common.coco import images, reader
from common.coco.annotations import CocoIndex
from common.coco.mini import dataset

import cv2
import numpy as np
import pytest


@pytest.fixture(scope="module")
def drawn(tmp_path_factory) -> Path:
    return dataset.write(tmp_path_factory.mktemp("drawn"), 9, 9)


@pytest.fixture
def content(drawn) -> dict:
    return json.loads(images.annotation_file(drawn, "train").read_text())


def load(folder: Path, content: dict, **options) -> CocoIndex:
    path = folder / "annotations.json"
    path.write_text(json.dumps(content))
    return reader.load(path, **options)


def person(**changes) -> dict:
    return {"id": 7, "image_id": 1, "keypoints": [5, 6, 2] * 3, "bbox": [1, 2, 30, 40], **changes}


def one_person(**changes) -> dict:
    image = {"id": 1, "file_name": "a.jpg", "height": 60, "width": 80}
    return {"images": [image], "annotations": [person(**changes)]}


# --- where the data lie ---


def test_without_a_word_the_environment_names_the_data_set_then_its_usual_place(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(images, "ROOT", tmp_path / "repository")
    monkeypatch.delenv("COCO_HOME", raising=False)
    monkeypatch.delenv("DATA_PATH", raising=False)
    with pytest.raises(UserError, match="--data_path is needed.*COCO_HOME or DATA_PATH.*./data/coco"):
        images.data_folder("")
    assert images.data_folder("", "dataset", tmp_path) == tmp_path
    (tmp_path / "repository" / "data" / "coco").mkdir(parents=True)
    assert images.data_folder("") == tmp_path / "repository" / "data" / "coco"
    monkeypatch.setenv("DATA_PATH", str(tmp_path))
    assert images.data_folder("", "./data/coco/") == tmp_path
    assert images.data_folder("", "/own/place") == Path("/own/place")  # of a configuration of the user
    assert images.data_folder("data/coco") == Path("data/coco")  # a flag stands above all
    monkeypatch.setenv("COCO_HOME", "/nowhere")
    with pytest.raises(UserError, match="COCO_HOME=/nowhere in the environment: no such folder"):
        images.data_folder("")


def test_mini_is_the_drawn_data_set(monkeypatch, drawn):
    monkeypatch.setattr(dataset, "_cache_folder", lambda: drawn)
    assert images.data_folder("mini") == drawn


# --- the index ---


def test_index_is_the_annotation_file_whatever_its_order(tmp_path, content):
    random.Random(0).shuffle(content["annotations"])
    index = load(tmp_path, content)
    assert index.num_images == len(content["images"])
    for row, image in enumerate(content["images"]):
        assert index.file_name(row) == image["file_name"]
        assert index.image_ids[row] == image["id"]
        assert index.image_sizes[row].tolist() == [image["height"], image["width"]]
        theirs = [entry for entry in content["annotations"] if entry["image_id"] == image["id"]]
        people = index.people(row)
        assert index.annotation_ids[people].tolist() == [entry["id"] for entry in theirs]
        assert index.boxes[people].tolist() == [entry["bbox"] for entry in theirs]
        assert index.areas[people].tolist() == [entry["area"] for entry in theirs]
        assert index.num_keypoints[people].tolist() == [entry["num_keypoints"] for entry in theirs]
        assert index.is_crowd[people].tolist() == [bool(entry["iscrowd"]) for entry in theirs]
        assert [points.ravel().tolist() for points in index.keypoints[people]] == [
            entry["keypoints"] for entry in theirs
        ]
        places = index.file_positions[people].tolist()
        assert [content["annotations"][place] for place in places] == theirs
    owners = {entry["id"]: entry["image_id"] for entry in content["annotations"]}
    people = np.arange(len(index.boxes))
    assert index.image_ids[index.image_rows(people)].tolist() == [owners[id_] for id_ in index.annotation_ids.tolist()]
    assert index.keypoint_names.tolist() == [name.encode() for name in content["categories"][0]["keypoints"]]


def test_selected_images_keep_their_people_and_crowds(drawn):
    index = reader.load(images.annotation_file(drawn, "train"))
    crowded = [row for row in range(9) if images.crowd_mask(index, row) is not None]
    assert crowded
    order = [*crowded, 0, 4]
    keep = index.is_crowd | (index.num_keypoints > 0)
    chosen = index.select(order, keep)
    assert chosen.image_ids.tolist() == index.image_ids[order].tolist()
    for row, before in enumerate(order):
        people = np.flatnonzero(keep & (index.image_rows(np.arange(len(keep))) == before))
        assert chosen.annotation_ids[chosen.people(row)].tolist() == index.annotation_ids[people].tolist()
        assert (chosen.keypoints[chosen.people(row)] == index.keypoints[people]).all()
    for row, before in enumerate(crowded):
        assert (images.crowd_mask(chosen, row) == images.crowd_mask(index, before)).all()
    nobody = index.select([0], np.zeros_like(keep))
    assert nobody.num_images == 1 and nobody.people(0) == slice(0, 0) and images.crowd_mask(nobody, 0) is None


def test_fields_that_crowdpose_lacks_are_made_up_for(tmp_path):
    index = load(tmp_path, one_person(keypoints=[5, 6, 2, 7, 8, 1, 0, 0, 0]))
    assert (index.areas[0], index.num_keypoints[0], index.is_crowd[0]) == (30 * 40, 2, False)


def test_a_file_of_nobody_is_an_index_of_nobody(tmp_path):
    index = load(tmp_path, {**one_person(), "annotations": []})
    assert index.num_images == 1 and len(index.boxes) == 0


def test_wrong_files_are_named(tmp_path):
    with pytest.raises(UserError, match=r"none\.json: No such file"):
        reader.load(tmp_path / "none.json")
    text = json.dumps(one_person())
    (tmp_path / "short.json").write_text(text[: len(text) // 2])
    with pytest.raises(UserError, match=r"short\.json: cut short .* line 1, character"):
        reader.load(tmp_path / "short.json")
    twice = one_person()
    twice["images"] *= 2
    with pytest.raises(UserError, match="image 1: there is another image of this id"):
        load(tmp_path, twice)
    with pytest.raises(UserError, match="9 keypoint numbers, not 3 x 17"):
        load(tmp_path, one_person(), num_keypoints=17)
    for key in ("images", "annotations"):
        content = one_person()
        del content[key]
        with pytest.raises(UserError, match=f"no list '{key}'"):
            load(tmp_path, content)
    names = {**one_person(), "categories": [{"id": 1, "keypoints": ["a", "b"]}]}
    with pytest.raises(UserError, match="9 keypoint numbers, not 3 x 2"):
        load(tmp_path, names)
    with pytest.raises(UserError, match="2 keypoint names in `categories`, 3"):
        load(tmp_path, names, num_keypoints=3)


# --- files and images ---


def test_a_wrong_data_path_says_what_is_expected(tmp_path, drawn):
    assert images.image_folder(drawn, "val").name == "val2017"
    with pytest.raises(UserError, match=r"nowhere: no such .*person_keypoints_val2017\.json.*--data_path=mini"):
        images.annotation_file(tmp_path / "nowhere" / "coco", "val")
    with pytest.raises(UserError, match=r"annotations: no such file or folder"):
        images.annotation_file(tmp_path, "train")
    with pytest.raises(UserError, match=r"train2017: no such file or folder.*--data_path=mini"):
        images.image_folder(tmp_path, "train")


@pytest.fixture
def image(tmp_path) -> np.ndarray:
    pixels = np.random.default_rng(0).integers(0, 256, (48, 64, 3), np.uint8)
    pixels = cv2.GaussianBlur(pixels, (7, 7), 0)
    cv2.imwrite(str(tmp_path / "a.png"), pixels)
    cv2.imwrite(str(tmp_path / "a.jpg"), pixels)
    return pixels


def test_images_are_read_as_bgr_without_the_exif_turn(tmp_path, image):
    np.testing.assert_array_equal(images.read_image(tmp_path, "a.png"), image)
    stored = images.read_image(tmp_path, "a.jpg")
    orientation = struct.pack("<2sHIHHHII", b"II", 42, 8, 1, 0x0112, 3, 1, 6) + bytes(4)
    exif = b"Exif\0\0" + orientation
    data = (tmp_path / "a.jpg").read_bytes()
    (tmp_path / "turned.jpg").write_bytes(data[:2] + b"\xff\xe1" + struct.pack(">H", len(exif) + 2) + exif + data[2:])
    assert cv2.imread(str(tmp_path / "turned.jpg")).shape == (64, 48, 3)  # the tag is understood by who follows it
    np.testing.assert_array_equal(images.read_image(tmp_path, "turned.jpg"), stored)
    cv2.imwrite(str(tmp_path / "grey.png"), image[..., 0])
    assert images.read_image(tmp_path, "grey.png").shape == (48, 64, 3)


@pytest.mark.parametrize("progressive", [0, 1])
def test_an_image_that_is_cut_short_is_an_error_at_any_length(tmp_path, image, progressive):
    data = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_PROGRESSIVE, progressive])[1].tobytes()
    for length in (0, 1, 2, 100, len(data) // 2, len(data) - 20, len(data) - 2, len(data) - 1):
        (tmp_path / "cut.jpg").write_bytes(data[:length])
        with pytest.raises(images.ImageError, match=rf"cut\.jpg: cut short.*\({length} bytes\)\. Copy"):
            images.read_image(tmp_path, "cut.jpg")
        (tmp_path / "zeros.jpg").write_bytes(data[:length].ljust(len(data), b"\0"))  # a download that stopped
        with pytest.raises(images.ImageError, match="Copy"):
            images.read_image(tmp_path, "zeros.jpg")
    (tmp_path / "more.jpg").write_bytes(data + b"something behind it")
    np.testing.assert_array_equal(
        images.read_image(tmp_path, "more.jpg"), cv2.imdecode(np.frombuffer(data, np.uint8), 1)
    )


@pytest.mark.parametrize("seed", range(5))
def test_a_progressive_image_that_is_damaged_within_is_an_error(tmp_path, seed):
    random = np.random.default_rng(seed)
    pixels = cv2.GaussianBlur(random.integers(0, 256, (240, 320, 3), np.uint8), (3, 3), 0)
    data = cv2.imencode(".jpg", pixels, [cv2.IMWRITE_JPEG_PROGRESSIVE, 1])[1]
    data[len(data) // 2 :][:4096] = random.integers(0, 256, 4096)
    (tmp_path / "damaged.jpg").write_bytes(data)
    with pytest.raises(images.ImageError, match=r"damaged\.jpg: cut short, damaged"):
        images.read_image(tmp_path, "damaged.jpg")


@pytest.mark.parametrize("size", [(48, 128), (50, 64), (64, 48)])
def test_an_image_of_another_size_than_annotated_is_an_error(tmp_path, image, size):
    wanted = rf"a\.jpg: has 64 x 48 pixels, annotated as {size[1]} x {size[0]}: .*python -m common\.coco"
    with pytest.raises(images.ImageError, match=wanted):
        images.read_annotated(tmp_path, "a.jpg", size)


def test_the_images_asked_for_last_are_kept(tmp_path):
    for name in "abc":
        cv2.imwrite(str(tmp_path / f"{name}.png"), np.full((48, 64, 3), ord(name), np.uint8))
    read = functools.partial(images.reader(2), tmp_path, size_img=(48, 64))
    a, b = read("a.png"), read("b.png")
    assert read("a.png") is a  # now the second is the oldest
    read("c.png")
    assert read("a.png") is a
    again = read("b.png")
    assert again is not b and np.array_equal(again, b)
    assert np.array_equal(a, images.read_image(tmp_path, "a.png"))


def test_what_is_kept_cannot_be_changed_and_nothing_is_kept_unasked(tmp_path, image):
    with pytest.raises(ValueError, match="read-only"):
        images.reader(1)(tmp_path, "a.png", (48, 64))[:] = 0
    unkept = images.reader(0)
    assert unkept(tmp_path, "a.png", (48, 64)) is not unkept(tmp_path, "a.png", (48, 64))


def test_names_that_leave_the_folder_are_refused_and_links_are_read(tmp_path, image):
    folder = tmp_path / "images"
    (folder / "sub").mkdir(parents=True)
    (folder / "sub" / "b.png").write_bytes((tmp_path / "a.png").read_bytes())
    (folder / "link.png").symlink_to(tmp_path / "a.png")  # into a cache, as of Hugging Face, DVC or git-annex
    (tmp_path / "alias").symlink_to(folder)
    for name in ("../a.png", str(tmp_path / "a.png"), "sub/../../a.png", "../images2/a.png", ".", ".."):
        with pytest.raises(images.ImageError, match="leads out of .*images"):
            images.read_image(folder, name)
    for where, name in ((folder, "sub/b.png"), (folder, "link.png"), (tmp_path / "alias", "sub/../link.png")):
        np.testing.assert_array_equal(images.read_image(where, name), image)


def test_what_is_no_regular_file_is_refused_at_once(tmp_path):
    os.mkfifo(tmp_path / "pipe.jpg")  # to open it would wait for ever
    (tmp_path / "folder.jpg").mkdir()
    (tmp_path / "device.jpg").symlink_to("/dev/zero")
    (tmp_path / "loop.jpg").symlink_to(tmp_path / "loop.jpg")
    for name, what in (
        ("pipe", "a pipe"),
        ("folder", "a folder"),
        ("device", "a pipe, socket"),
        ("loop", ""),
    ):
        with pytest.raises(images.ImageError, match=rf"{name}\.jpg: {what}"):
            images.read_image(tmp_path, f"{name}.jpg")


def test_a_photograph_with_a_film_behind_it_is_read(tmp_path, image):
    """The film of a phone may have any bytes in it; an image that was cut short stays refused."""
    data, film = (tmp_path / "a.jpg").read_bytes(), bytes(range(256)) * 40 + b"\xff\xda\xff\xd8\xff\xe1\x00\x08mp4"
    (tmp_path / "motion.jpg").write_bytes(data + film)
    np.testing.assert_array_equal(images.read_image(tmp_path, "motion.jpg"), images.read_image(tmp_path, "a.jpg"))
    for length in (len(data) - 2, len(data) // 2):
        (tmp_path / "cut.jpg").write_bytes(data[:length])
        with pytest.raises(images.ImageError, match="cut short"):
            images.read_image(tmp_path, "cut.jpg")


def tagged(data: bytes, orientation: int, order: str = "<") -> bytes:
    """A JPEG with an EXIF header."""
    start = b"II*\0" if order == "<" else b"MM\0*"
    tiff = start + struct.pack(f"{order}IHHHIHHI", 8, 1, 0x0112, 3, 1, orientation, 0, 0)
    exif = b"Exif\0\0" + tiff
    return data[:2] + b"\xff\xe1" + struct.pack(">H", len(exif) + 2) + exif + data[2:]


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_images_are_turned_as_exif_says_where_that_is_wanted(tmp_path, image, orientation, order):
    (tmp_path / "t.jpg").write_bytes(tagged((tmp_path / "a.jpg").read_bytes(), orientation, order))
    upright = cv2.imread(str(tmp_path / "t.jpg"))
    np.testing.assert_array_equal(images.read_image(tmp_path, "t.jpg", "turn"), upright)
    np.testing.assert_array_equal(images.read_image(tmp_path, "t.jpg"), images.read_image(tmp_path, "a.jpg"))
    assert images.read_with_orientation(tmp_path, "t.jpg", "ignore")[1] == orientation
    if orientation in images.SIDEWAYS:
        with pytest.raises(images.ImageError, match=r"64 x 48 pixels, annotated as 48 x 64: .*--exif=turn reads it so"):
            images.read_annotated(tmp_path, "t.jpg", (64, 48))
        with pytest.raises(images.ImageError, match="--exif=ignore reads it so"):
            images.read_annotated(tmp_path, "t.jpg", (48, 64), "turn")


def test_a_picture_of_too_many_pixels_is_refused(tmp_path):
    cv2.imwrite(str(tmp_path / "bomb.png"), np.zeros((7100, 7100), np.uint8), [cv2.IMWRITE_PNG_COMPRESSION, 9])
    with pytest.raises(images.ImageError, match=r"bomb\.png: refused"):
        images.read_image(tmp_path, "bomb.png")


def test_real_data(shared):
    folder = shared / "data" / "coco-mini"
    index = reader.load(images.annotation_file(folder, "train"), num_keypoints=17)
    assert (index.num_images, len(index.boxes), int(index.is_crowd.sum())) == (80, 172, 5)
    for row in range(index.num_images):
        image = images.read_image(images.image_folder(folder, "train"), index.file_name(row))
        assert list(image.shape[:2]) == index.image_sizes[row].tolist()
