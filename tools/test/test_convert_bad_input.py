# SPDX-License-Identifier: Apache-2.0
"""Odd exports end in one line that names file, entry and cure, and leave nothing behind."""

import json

from common.cli import UserError
from tools.convert import __main__ as convert
from tools.test import exports
from tools.test.test_convert import run

import pytest

LAUGHS = '<!DOCTYPE a [<!ENTITY b "ha"><!ENTITY c "&b;&b;&b;">]><annotations><image name="&c;"/></annotations>'
BAD = {
    "cvat": {
        "no xml": ("annotations.xml", "{}", "line 1: no whole XML"),
        "cut": ("annotations.xml", '<annotations><image name="c.png" ', "no whole XML"),
        "entities": ("annotations.xml", LAUGHS, "entities are not read"),
        "deep": ("annotations.xml", "<a>" * 5000, "elements within elements"),
        "tracks": ("annotations.xml", '<annotations><track id="0"/></annotations>', "CVAT for images 1.1"),
        "no image": ("annotations.xml", "<annotations/>", "no image in it"),
        "no number": (
            "annotations.xml",
            '<annotations><image name="c.png"><points label="p" points="a,b"/></image></annotations>',
            "image 'c.png': a coordinate is 'a', no number",
        ),
        "infinite": (
            "annotations.xml",
            '<annotations><image name="c.png"><points label="p" points="nan,1"/></image></annotations>',
            "no place in an image",
        ),
        "twice": (
            "annotations.xml",
            '<annotations><image name="c.png">' + '<points label="p" points="1,1"/>' * 2 + "</image></annotations>",
            "nothing tells whose they are",
        ),
        "packed": ("task.zip", "PK", "unpack it"),
    },
    "labelstudio": {
        "no list": ("a.json", "[1]", "task 0: the task is 1, no JSON object"),
        "cut": ("a.json", "[{", "cut short or damaged"),
        "no percent": (
            "a.json",
            json.dumps([{"id": 5, "annotations": [{"result": [{"value": {"x": None, "keypointlabels": ["p"]}}]}]}]),
            "task 5: x is None, no number",
        ),
        "nobody": ("a.json", json.dumps([{"id": 1, "annotations": [], "data": {}}]), "no annotated task"),
        "half turn": (
            "a.json",
            json.dumps(
                [
                    {
                        "id": 5,
                        "annotations": [
                            {"result": [{"image_rotation": 45, "value": {"x": 1, "y": 1, "keypointlabels": ["p"]}}]}
                        ],
                    }
                ]
            ),
            "no quarter turn",
        ),
    },
    "yolo": {
        "no kpt_shape": ("data.yaml", "names: [a]\ntrain: images\n", "data.yaml: has no 'kpt_shape'"),
        "no folder": ("data.yaml", "names: [a]\ntrain: gone\nkpt_shape: [1, 3]\n", "train: gone: no such folder"),
        "flip": ("data.yaml", "names: [a]\ntrain: .\nkpt_shape: [2, 3]\nflip_idx: [0, 7]\n", "no order of 2 keypoints"),
        "huge": ("data.yaml", "names: [a]\ntrain: .\nkpt_shape: [99999999999, 3]\n", "not \\[keypoints"),
        "yaml": ("data.yaml", "a: [", "no YAML"),
    },
    "labelme": {
        "no shapes": ("c.json", "{}", "c.json: file: has no 'shapes'"),
        "no pair": (
            "c.json",
            json.dumps({"shapes": [{"label": "p", "shape_type": "point", "points": [[1]]}]}),
            r"shapes\[0\]: a point is not \[x, y\]",
        ),
        "other size": (
            "c.json",
            json.dumps(
                {
                    "shapes": [{"label": "p", "shape_type": "point", "points": [[1, 1]]}],
                    "imagePath": "c.png",
                    "imageWidth": 5,
                    "imageHeight": 5,
                }
            ),
            "has 64 x 48 pixels, annotated as 5 x 5",
        ),
    },
    "via": {
        "version 3": ("v.json", json.dumps({"project": {}, "metadata": {}}), "file: has no 'view'. Export again"),
        "film": (
            "v.json",
            json.dumps({"project": {}, "metadata": {"1_a": {"vid": "1", "z": [1, 2], "xy": []}}, "view": {}}),
            "moments of a video",
        ),
        "no name": (
            "v.json",
            json.dumps(
                {
                    "c.png1": {
                        "filename": "c.png",
                        "regions": [{"shape_attributes": {"name": "point", "cx": 1, "cy": 1}, "region_attributes": {}}],
                    }
                }
            ),
            "no attribute of none names the point",
        ),
        "deep": (
            "v.csv",
            "filename,region_shape_attributes,region_attributes\nc.png," + "[" * 100_000 + ",{}\n",
            "v.csv: line 2: ",
        ),
        "columns": ("v.csv", "a,b\n1,2\n", "its first line has not filename"),
    },
    "dlc": {
        "header": ("CollectedData_a.csv", "a,b\n1,2\n", "no rows `bodyparts`"),
        "only HDF5": ("CollectedData_a.h5", "x", "CollectedData_a.csv: no such file"),
        "cells": ("CollectedData_a.csv", "scorer,m,m\nbodyparts,p,p\ncoords,x,y\na.png,1\n", "line 4: 2 cells, not 3"),
        "of a network": (
            "CollectedData_a.csv",
            "scorer,m,m,m\nbodyparts,p,p,p\ncoords,x,y,likelihood\n0,1,1,0.9\n",
            "extract frames in DeepLabCut",
        ),
        "word": ("CollectedData_a.csv", "scorer,m,m\nbodyparts,p,p\ncoords,x,y\na.png,1,b\n", "'b', no number"),
    },
    "coco": {
        "v": (
            "a.json",
            json.dumps(
                {
                    "images": [{"id": 1, "file_name": "c.png", "width": 64, "height": 48}],
                    "annotations": [{"image_id": 1, "keypoints": [1, 1, 7]}],
                }
            ),
            r"annotations\[0\]: v is 7",
        ),
        "parts": (
            "a.json",
            json.dumps(
                {
                    "images": [{"id": 1, "file_name": "c.png", "width": 64, "height": 48}],
                    "annotations": [{"image_id": 1, "keypoints": [0.1, 0.9, 2, 0, 0, 0]}],
                }
            ),
            "between 0 and 1",
        ),
        "lost": (
            "a.json",
            json.dumps(
                {
                    "images": [{"id": 1, "file_name": "c.png", "width": 64, "height": 48}],
                    "annotations": [{"image_id": 9, "keypoints": [1, 1, 2]}],
                }
            ),
            "annotations of image 9, which is not",
        ),
        "no image": (
            "a.json",
            json.dumps(
                {
                    "images": [{"id": 1, "file_name": "gone.png", "width": 64, "height": 48}],
                    "annotations": [{"image_id": 1, "keypoints": [9, 9, 2]}],
                }
            ),
            "'gone.png'. Name the folder",
        ),
    },
}


@pytest.mark.parametrize(("kind", "case"), [(kind, case) for kind, cases in BAD.items() for case in cases])
def test_odd_files_are_one_line(tmp_path, kind, case):
    name, text, message = BAD[kind][case]
    source = exports._write(exports.draw(tmp_path / "in") / name, text)
    with pytest.raises(UserError, match=message) as caught:
        run(source, tmp_path / "out", kind=kind)
    assert str(source.name) in str(caught.value) or "c.png" in str(caught.value) or str(tmp_path) in str(caught.value)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("text", ["", "\ufeff", "null", "[]", "{}"])
def test_files_without_content_are_one_line(tmp_path, text):
    names = {"cvat": "annotations.xml", "yolo": "data.yaml", "dlc": "CollectedData_a.csv", "predictions": "p.jsonl"}
    for kind in (*BAD, "halpe", "predictions"):
        source = exports._write(tmp_path / kind / names.get(kind, "a.json"), text)
        with pytest.raises(UserError, match="again|nothing to correct|needed|See cocodataset|names"):
            run(source, tmp_path / "out", kind=kind)


def test_nothing_is_written_over(tmp_path):
    exports.cvat(exports.draw(tmp_path / "in"))
    with pytest.raises(UserError, match="there is something already"):
        run(tmp_path / "in", tmp_path / "in")
    with pytest.raises(UserError, match="--from is needed"):
        convert.main([])
    with pytest.raises(UserError, match="no such file or folder"):
        run(tmp_path / "gone", tmp_path / "out")
