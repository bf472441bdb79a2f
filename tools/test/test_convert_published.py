# SPDX-License-Identifier: Apache-2.0
"""Exports as the tools' published schemas have them are read without a word of help."""

from pathlib import Path

from tools.test import exports, published_exports
from tools.test.test_convert import people, run, written

import numpy as np
import pytest

WHOLE = {  # exports that say all of the data set
    "cvat": ("cvat_project", "cvat_frames"),
    "coco": ("cvat_coco", "roboflow_coco"),
    "yolo": ("cvat_ultralytics", "yolo_without_v"),
    "labelstudio": ("labelstudio_annotators", "labelstudio_uploads"),
    "labelme": ("labelme_windows",),
    "via": ("via_1", "via_3_files"),
}
NO_V = {"yolo_without_v"}


def in_order(target: Path) -> list:
    """The people of each image in the order of the images' names."""
    found = people(written(target))
    assert all((target / "train2017" / name).is_file() for name in found)
    return [found[name] for name in sorted(found, key=lambda name: Path(name).name)]


@pytest.mark.parametrize(("kind", "name"), [(kind, name) for kind, names in WHOLE.items() for name in names])
def test_it_says_the_same(tmp_path, kind, name):
    source = getattr(published_exports, name)(exports.draw(tmp_path / "in"))
    found = in_order(run(source, tmp_path / "out", "--val=0", kind=kind))
    assert [len(one) for one in found] == [len(exports.CREATURES[image]) for image in exports.FILES]
    for image, ours in zip(exports.FILES, found, strict=True):
        wanted = zip(exports.CREATURES[image], exports.BOXES.get(image, ()), strict=True)
        for (rows, box), (points, around) in zip(ours, wanted, strict=True):
            assert set(rows) == set(exports.NAMES)
            for point, row in rows.items():
                x, y, v = points.get(point, (0, 0, 0))
                np.testing.assert_allclose(row, (x, y, 2 if v and name in NO_V else v), atol=2e-3)
            np.testing.assert_allclose(box, around, atol=2e-3)


def test_the_last_of_several_annotators_counts_and_a_line_says_so(tmp_path, capsys):
    source = published_exports.labelstudio_uploads(exports.draw(tmp_path / "in"))
    run(source, tmp_path / "out", "--val=0", kind="labelstudio")
    assert "2 annotations of images that are annotated again further on are left out" in capsys.readouterr().err


def test_names_that_stand_in_two_folders_are_two_images(tmp_path):
    source = exports.yolo(exports.draw(tmp_path / "in"))
    for kind in ("images", "labels"):
        (tmp_path / "in" / kind / "more").symlink_to(tmp_path / "in" / kind / "train")
    source.write_text(source.read_text().replace("train: images/train", "train: [images/train, images/more]"))
    assert len(people(written(run(source, tmp_path / "out", "--val=0", kind="yolo")))) == 6


def test_deeplabcut_of_a_single_animal_on_windows(tmp_path):
    source = published_exports.dlc_windows(exports.draw(tmp_path / "in"))
    target = run(source, tmp_path / "out", "--val=0", kind="dlc")
    first, second = in_order(target)
    ((rows, _),) = first
    assert rows["right_foot"] == [30, 33, 2] and not second
    assert written(target)["categories"][0]["skeleton"] == [[1, 3]]


def test_folders_that_are_links_are_followed_once(tmp_path):
    exports.draw(tmp_path / "disk")
    (tmp_path / "disk" / "again").symlink_to(tmp_path)
    source = exports.cvat(tmp_path / "in")
    (tmp_path / "in" / "photos").symlink_to(tmp_path / "disk")
    assert len(people(written(run(source, tmp_path / "out", "--val=0")))) == 3
