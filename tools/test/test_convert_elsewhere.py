# SPDX-License-Identifier: Apache-2.0
"""Exports with the paths of other machines, and results as another program reads them."""

from pathlib import Path

from common.cli import UserError
from tools.test import exports
from tools.test.test_convert import names_of, people, run, written

import numpy as np
import pytest


def test_ultralytics_paths_are_those_of_another_machine(tmp_path):
    """The nearest end of a path that is there: of a folder, and of the lines of a list."""
    source = exports.ultralytics(exports.draw(tmp_path / "in"))
    target = run(source, tmp_path / "out", kind="yolo")
    assert names_of(target, "train") == {"a.png"}
    assert names_of(target, "val") == {"images/train/day one/b.png", "images/train/c.png"}
    found = people(written(target)) | people(written(target, "val"))
    assert [len(rows) for rows in found.values()] == [2, 1, 0]
    (source.parent / "val.txt").write_text("/gone/d.png\n")
    with pytest.raises(UserError, match="gone/d.png: No such file"):
        run(source, tmp_path / "2", kind="yolo")


@pytest.mark.filterwarnings("ignore:.*:DeprecationWarning")
def test_another_reader_reads_the_same(tmp_path):
    """Datumaro, where it is installed: it needs another OpenCV than this project is tested with."""
    datumaro = pytest.importorskip("datumaro")
    target = run(exports.cvat(exports.draw(tmp_path / "in")), tmp_path / "out", "--val=0.3", "--place_images=copy")
    for subset in ("train2017", "val2017"):
        (target / "images").mkdir(exist_ok=True)
        (target / subset).rename(target / "images" / subset)
    items = {item.id: item for item in datumaro.Dataset.import_from(str(target), "coco_person_keypoints")}
    assert set(items) == {Path(name).with_suffix("").as_posix() for name in exports.FILES}
    for name, creatures in exports.CREATURES.items():
        item = items[Path(name).with_suffix("").as_posix()]
        assert item.media.data.shape[:2] == exports.SIZE[::-1]
        found = [one for one in item.annotations if one.type == datumaro.AnnotationType.points]
        for one, wanted in zip(sorted(found, key=lambda one: one.id), creatures, strict=True):
            rows = [wanted.get(point, (0, 0, 0)) for point in exports.NAMES]
            np.testing.assert_allclose(np.reshape(one.points, (-1, 2)), [row[:2] for row in rows], atol=1e-3)
            assert [int(v.value) for v in one.visibility] == [row[2] for row in rows]
