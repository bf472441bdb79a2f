# SPDX-License-Identifier: Apache-2.0
"""The data set of `exports` as the tools' published schemas have it, with what people's machines add: byte-order marks,
Windows' paths, prefixes of uploads, several annotators, shapes that are no keypoints.
"""

import base64
import json
import unicodedata
from pathlib import Path

from tools.test import exports
from tools.test.exports import FILES, NAMES, SIZE, _write, creatures

MARK = "\ufeff"


def cvat_project(folder: Path) -> Path:
    """CVAT for images 1.1 of a project: subsets, tags, masks and outlines among the skeletons, a turned box."""
    head = "<project><id>3</id><name>zoo</name><created>2026-11-30 10:00:00+00:00</created><tasks><task><id>7</id>"
    head += "<name>day</name><subset>Train</subset><labels><label><name>other</name></label></labels></task></tasks>"
    labels = "<label><name>creature</name><color>#ff6a4d</color><type>skeleton</type><attributes></attributes><svg>"
    labels += "".join(
        f'&lt;circle r="0.75" data-type="element node" data-node-id="{n}" data-label-name="{name}"&gt;&lt;/circle&gt;'
        for n, name in enumerate(NAMES, 1)
    )
    labels += "</svg></label>"
    for name in NAMES:
        labels += (
            f"<label><name>{name}</name><type>points</type><attributes></attributes><parent>creature</parent></label>"
        )
    text = f'<?xml version="1.0" encoding="utf-8"?>\n<annotations>\n<version>1.1</version><meta>{head}'
    text += f"<labels>{labels}</labels></project><dumped>2026-11-30</dumped></meta>"
    for number, name in enumerate(FILES):
        text += f'<image id="{number}" name="{name}" subset="Train" task_id="7" width="{SIZE[0]}" height="{SIZE[1]}">'
        text += '<tag label="sunny" source="manual"></tag><polyline label="rope" points="1,1;2,2"></polyline>'
        text += '<mask label="grass" rle="3, 5" left="1" top="1" width="4" height="2" z_order="0"></mask>'
        for of, group, points, (left, top, wide, high) in creatures():
            if of == name:
                text += f'<skeleton label="creature" source="manual" z_order="0" group_id="{group}">'
                for point in reversed(NAMES):
                    x, y, v = points.get(point, (3, 3, 0))
                    place = f'outside="{int(v == 0)}" occluded="{int(v == 1)}" points="{x:.2f},{y:.2f}"'
                    sure = '<attribute name="sure">yes</attribute>'
                    text += f'<points label="{point}" source="manual" {place}>{sure}</points>'
                middle = f'xtl="{left + wide / 2 - high / 2}" ytl="{top + high / 2 - wide / 2}"'
                end = f'xbr="{left + wide / 2 + high / 2}" ybr="{top + high / 2 + wide / 2}"'
                text += f'</skeleton><box label="frame" group_id="{group}" {middle} {end} rotation="90.00"></box>'
        text += "</image>"
        target = folder / "images" / "Train" / name
        target.parent.mkdir(parents=True, exist_ok=True)
        (folder / name).rename(target)
    return _write(folder / "annotations.xml", MARK + text + "</annotations>").parent


def cvat_frames(folder: Path) -> Path:
    """CVAT for images 1.1 of a video: frames are named without the suffix that their files have."""
    path = exports.cvat(folder)
    text = path.read_text()
    for number, name in enumerate(FILES):
        text = text.replace(f'name="{name}"', f'name="frame_{number:06d}"')
        target = folder / "images" / f"frame_{number:06d}.PNG"
        target.parent.mkdir(exist_ok=True)
        (folder / name).rename(target)
    path.write_text(text)
    return folder


def cvat_coco(folder: Path) -> Path:
    """COCO Keypoints 1.0 of CVAT: each point of a skeleton is a category too, one without keypoints."""
    exports.cvat_coco(folder)
    path = folder / "annotations" / "person_keypoints_default.json"
    content = json.loads(path.read_text())
    for number, name in enumerate(NAMES, 3):
        empty = {"id": number, "name": name, "supercategory": "creature", "keypoints": [], "skeleton": []}
        content["categories"].append(empty)
    for one in content["annotations"]:
        one["keypoints"] = [float(value) for value in one["keypoints"]]
        one["attributes"] = {"occluded": False, "keyframe": False}
    _write(path, json.dumps(content))
    return folder


def cvat_ultralytics(folder: Path) -> Path:
    """Ultralytics YOLO Pose 1.0 of CVAT: lists of files below `data`, which the archive does not have."""
    exports.yolo(folder)
    _write(folder / "train.txt", "".join(f"data/images/train/{name}\n" for name in FILES))
    text = "names:\n  0: creature\npath: .\ntrain: train.txt\nkpt_shape:\n- 5\n- 3\n"
    text += f"kpt_names:\n  0: {json.dumps(NAMES)}\n"
    return _write(folder / "data.yaml", text).parent


def yolo_without_v(folder: Path) -> Path:
    """kpt_shape [5, 2]: 0 0 is not labelled; lines end as Windows ends them, and a label file is empty."""
    exports.yolo(folder)
    for name in FILES[:2]:
        path = (folder / "labels" / "train" / name).with_suffix(".txt")
        rows = [line.split() for line in path.read_text().splitlines()]
        lines = [[*row[:5], *(word for place, word in enumerate(row[5:]) if place % 3 < 2)] for row in rows]
        path.write_bytes(MARK.encode() + "".join(" ".join(line) + " \r\n" for line in lines).encode())
    _write((folder / "labels" / "train" / FILES[2]).with_suffix(".txt"), "")
    text = (folder / "data.yaml").read_text().replace("[5, 3]", "[5, 2] # x, y")
    (folder / "data.yaml").write_bytes(MARK.encode() + text.replace("\n", "\r\n").encode())
    return folder / "data.yaml"


def labelstudio_annotators(folder: Path) -> Path:
    """Several annotators, one cancelled, one correct; a turned box; a server on Windows; a skipped task."""
    path = exports.labelstudio(folder)
    tasks = json.loads(path.read_text())
    for task, name in zip(tasks, FILES, strict=True):
        (right,) = task["annotations"]
        for one in right["result"]:
            if one["type"] == "rectanglelabels":
                one["value"] = _turned_right(one["value"])
        wrong = {"id": 2, "was_cancelled": True, "result": [{"type": "choices", "value": {"choices": ["bad"]}}]}
        other = {**right, "id": 3, "result": right["result"][:2], "ground_truth": False}
        task["annotations"] = [{**right, "ground_truth": True, "completed_by": {"email": "a@b.c"}}, wrong, other]
        windows = name.replace("/", "%5C").replace(" ", "%20")
        task |= {
            "drafts": [],
            "predictions": [],
            "meta": {},
            "data": {"image": f"/data/local-files/?d=photos%5C{windows}"},
        }
    skipped = {"id": 9, "annotations": [{"was_cancelled": True, "result": []}], "data": {"image": "gone.png"}}
    path.write_bytes((MARK + json.dumps([*tasks, skipped], ensure_ascii=False)).encode())
    return path


def _turned_right(value: dict) -> dict:
    """The same rectangle as one that was drawn lying and turned by 90 degrees about its first corner."""
    wide, high = value["width"] * SIZE[0] / SIZE[1], value["height"] * SIZE[1] / SIZE[0]
    return {**value, "x": value["x"] + value["width"], "width": high, "height": wide, "rotation": 90}


def labelstudio_uploads(folder: Path) -> Path:
    """JSON-MIN of two annotators, a line of each: the later counts. Uploaded names lose blanks and brackets."""
    path = exports.labelstudio_min(folder)
    tasks = json.loads(path.read_text())
    for task, name in zip(tasks, FILES, strict=True):
        (folder / name).rename(folder / f"{Path(name).stem} photo (1).png")
        task["image"] = f"/data/upload/3/0a1b2c3d-{Path(name).stem}_photo_1.png"
    first = [{**task, "annotator": 2, "kp": task["kp"][:1], "bbox": task["bbox"][:1]} for task in tasks if "kp" in task]
    return _write(path, json.dumps([*first, *tasks]))


def roboflow_coco(folder: Path) -> Path:
    """A category without keypoints of the same name; names with a hash; a README file; a set without images."""
    content = json.loads(exports.coco(folder).read_text())
    (folder / "instances.json").unlink()
    (one,) = content["categories"]
    content["categories"] = [
        {"id": 0, "name": "creature", "supercategory": "none"},
        {**one, "supercategory": "creature"},
    ]
    for image, name in zip(content["images"], FILES, strict=True):
        image |= {"file_name": f"{Path(name).stem}_png.rf.0123456789abcdef.png", "license": 1, "extra": {"name": name}}
        image["date_captured"] = "2026-11-30T10:00:00+00:00"
        (folder / "train").mkdir(exist_ok=True)
        (folder / name).rename(folder / "train" / image["file_name"])
    _write(folder / "README.dataset.txt", "creatures")
    _write(folder / "train" / "_annotations.coco.json", json.dumps(content))
    (folder / "valid").mkdir()
    nothing = {**content, "images": [], "annotations": []}
    _write(folder / "valid" / "_annotations.coco.json", json.dumps(nothing))
    return folder


def labelme_windows(folder: Path) -> Path:
    """JSON files in their own folder, with Windows' paths, the image inside, corners from bottom right, outlines."""
    exports.labelme(folder)
    for name in FILES:
        path = (folder / name).with_suffix(".json")
        content = json.loads(path.read_text())
        for shape in content["shapes"]:
            shape |= {"mask": None, "points": shape["points"][::-1]}
        outline = {"label": "grass", "shape_type": "polygon", "points": [[0, 0], [9, 0], [9, 9]], "group_id": None}
        content["shapes"].append({**outline, "flags": {}})
        content |= {
            "version": "5.5.0",
            "flags": {"checked": True},
            "imagePath": "..\\photos\\" + name.replace("/", "\\"),
        }
        content["imageData"] = base64.b64encode((folder / name).read_bytes()).decode()
        target = folder / "photos" / name
        target.parent.mkdir(parents=True, exist_ok=True)
        (folder / name).rename(target)
        path.unlink()
        target = folder / "labels" / f"{Path(name).stem}.json"
        target.parent.mkdir(exist_ok=True)
        target.write_bytes((MARK + json.dumps(content, indent=2).replace("\n", "\r\n")).encode())
    return folder


def via_1(folder: Path) -> Path:
    """VIA 1: regions by number, the image's name as the key; names of a Mac beside names of the web."""
    content = json.loads(exports.via(folder).read_text())["_via_img_metadata"]
    for one, name in zip(content.values(), FILES, strict=True):
        one |= {"fileref": "", "base64_img_data": "", "filename": f"{Path(name).stem} é.png"}
        one["regions"] = {str(place): region for place, region in enumerate(one["regions"])}
        (folder / name).rename(folder / unicodedata.normalize("NFD", one["filename"]))
    (folder / "via_project.json").unlink()
    return _write(folder / "via_region_data.json", MARK + json.dumps(content, ensure_ascii=False))


def via_3_files(folder: Path) -> Path:
    """A project of VIA 3 whose files are addresses of a disk."""
    path = exports.via3(folder)
    content = json.loads(path.read_text())
    for one in content["file"].values():
        one |= {"loc": 3, "src": "file:///C:/Users/me/" + one["fname"].replace(" ", "%20"), "fname": one["fname"]}
        one["fname"] = one["src"]
    return _write(path, json.dumps(content))


def dlc_windows(folder: Path) -> Path:
    """The old one-column form of a single animal, on Windows, of the second image; with a config.yaml."""
    frames = folder / "labeled-data" / "film"
    frames.mkdir(parents=True)
    for name in FILES:
        (folder / name).rename(frames / Path(name).name)
    columns = [(point, axis) for point in NAMES for axis in "xy"]
    rows = [
        ["scorer", *["Me"] * len(columns)],
        ["bodyparts", *(p for p, _ in columns)],
        ["coords", *(a for _, a in columns)],
    ]
    for name in FILES[1:]:
        points = next((points for of, _, points, _ in creatures() if of == name), {})
        cells = [points.get(point, ("", ""))["xy".index(axis)] for point, axis in columns]
        rows.append([f"labeled-data\\film\\{Path(name).name}", *map(str, cells)])
    text = "\r\n".join(",".join(row) for row in rows) + "\r\n"
    (frames / "CollectedData_Me.csv").write_bytes((MARK + text).encode())
    _write(frames / "CollectedData_Me.h5", "\x89HDF")
    _write(folder / "config.yaml", "Task: t\nscorer: Me\nskeleton:\n- - left_eye\n  - tail\nskeleton_color: black\n")
    return folder
