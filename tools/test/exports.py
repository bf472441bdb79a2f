# SPDX-License-Identifier: Apache-2.0
"""The same small data set as each annotation tool writes it."""

import csv
import json
from pathlib import Path

import cv2
import numpy as np

NAMES = ("left_eye", "right_eye", "tail", "left_foot", "right_foot")
SIZE = 64, 48  # width, height
FILES = ("day one/a.png", "day one/b.png", "c.png")
# of each image: its creatures, x, y, v of each point
CREATURES: dict[str, list[dict[str, tuple[float, float, int]]]] = {
    "day one/a.png": [
        {"left_eye": (12, 8, 2), "right_eye": (8, 8.5, 2), "tail": (10, 20, 1), "left_foot": (14, 24, 2)},
        {"left_eye": (42, 18, 2), "right_eye": (38, 18, 2), "tail": (40, 30, 2), "right_foot": (36, 34, 2)},
    ],
    "day one/b.png": [{name: (10.0 + 5 * place, 9.0 + 6 * place, 2) for place, name in enumerate(NAMES)}],
    "c.png": [],
}
BOXES = {"day one/a.png": [(5.0, 5.0, 12.0, 22.0), (33.0, 15.0, 12.0, 22.0)], "day one/b.png": [(6.0, 4.0, 40.0, 40.0)]}


def creatures():
    """name of the image, number of the creature, its points, its box."""
    for name in FILES:
        for number, (points, box) in enumerate(zip(CREATURES[name], BOXES.get(name, ()), strict=True), 1):
            yield name, number, points, box


def draw(folder: Path) -> Path:
    """The image files."""
    for name in FILES:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(folder / name), np.zeros((SIZE[1], SIZE[0], 3), np.uint8))
    return folder


def cvat(folder: Path) -> Path:
    labels = "".join(f"<label><name>{n}</name><type>points</type><parent>creature</parent></label>" for n in NAMES)
    head = f"<meta><task><name>t</name><labels><label><name>creature</name><type>skeleton</type></label>{labels}"
    text = f"<?xml version='1.0' encoding='utf-8'?>\n<annotations><version>1.1</version>{head}</labels></task></meta>"
    for number, name in enumerate(FILES):
        text += f'<image id="{number}" name="{name}" width="{SIZE[0]}" height="{SIZE[1]}">'
        for of, group, points, (left, top, wide, high) in creatures():
            if of == name:
                text += f'<skeleton label="creature" source="manual" z_order="0" group_id="{group}">'
                for point in NAMES:
                    x, y, v = points.get(point, (0, 0, 0))
                    flags = f'outside="{int(v == 0)}" occluded="{int(v == 1)}"'
                    text += f'<points label="{point}" source="manual" {flags} points="{x:.2f},{y:.2f}"></points>'
                text += f'</skeleton><box label="frame" group_id="{group}" occluded="0" xtl="{left}" ytl="{top}"'
                text += f' xbr="{left + wide}" ybr="{top + high}" z_order="0"></box>'
        text += "</image>"
    return _write(folder / "annotations.xml", text + "</annotations>")


def labelstudio(folder: Path) -> Path:
    tasks = []
    for number, name in enumerate(FILES, 1):
        result = []
        for of, which, points, box in creatures():
            if of == name:
                parent, around = (
                    f"box{which}",
                    {"original_width": SIZE[0], "original_height": SIZE[1], "image_rotation": 0},
                )
                percent = [100 * side / SIZE[place % 2] for place, side in enumerate(box)]
                value = dict(zip(("x", "y", "width", "height"), percent, strict=True))
                value |= {"rotation": 0, "rectanglelabels": ["creature"]}
                result.append({**around, "id": parent, "type": "rectanglelabels", "from_name": "b", "value": value})
                for point, (x, y, v) in points.items():
                    spot = {"x": 100 * x / SIZE[0], "y": 100 * y / SIZE[1], "width": 0.4, "keypointlabels": [point]}
                    one = {"id": f"{which} {point}", "type": "keypointlabels", "parentID": parent, "value": spot}
                    result.append({**around, **one, "meta": {"text": ["occluded"] if v == 1 else []}})
        data = {"image": f"/data/local-files/?d={name.replace(' ', '%20')}"}
        tasks.append({"id": number, "annotations": [{"id": 1, "was_cancelled": False, "result": result}], "data": data})
    return _write(folder / "project-1-at-2026-11-30.json", json.dumps(tasks))


def labelme(folder: Path) -> Path:
    for name in FILES:
        shapes = []
        for of, which, points, (left, top, wide, high) in creatures():
            if of == name:
                group = {"group_id": which, "flags": {}, "description": ""}
                corners = [[left, top], [left + wide, top + high]]
                shapes.append({**group, "label": "creature", "shape_type": "rectangle", "points": corners})
                for point, (x, y, v) in points.items():
                    shape = {**group, "label": point, "shape_type": "point", "points": [[x, y]]}
                    shapes.append({**shape, "flags": {"occluded": v == 1}})
        content = {"version": "5.4.1", "flags": {}, "shapes": shapes, "imagePath": Path(name).name, "imageData": None}
        content |= {"imageHeight": SIZE[1], "imageWidth": SIZE[0]}
        _write((folder / name).with_suffix(".json"), json.dumps(content))
    return folder


def _via_regions(name: str):
    for of, which, points, (left, top, wide, high) in creatures():
        if of == name:
            rect = {"name": "rect", "x": left, "y": top, "width": wide, "height": high}
            yield rect, {"label": "creature", "instance": str(which)}
            for point, (x, y, v) in points.items():
                attributes = {"label": point, "instance": str(which), "occluded": "yes" if v == 1 else ""}
                yield {"name": "point", "cx": x, "cy": y}, attributes


def via(folder: Path) -> Path:
    entries = {}
    for name in FILES:
        regions = [{"shape_attributes": a, "region_attributes": b} for a, b in _via_regions(name)]
        entries[f"{name}123"] = {"filename": name, "size": 123, "regions": regions, "file_attributes": {}}
    return _write(folder / "via_project.json", json.dumps({"_via_settings": {}, "_via_img_metadata": entries}))


def via_csv(folder: Path) -> Path:
    path = folder / "via_export_csv.csv"
    head = "filename,file_size,file_attributes,region_count,region_id,region_shape_attributes,region_attributes"
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(head.split(","))
        for name in FILES:
            regions = list(_via_regions(name)) or [({}, {})]
            for place, (shape, attributes) in enumerate(regions):
                writer.writerow([name, 1, "{}", len(regions), place, json.dumps(shape), json.dumps(attributes)])
    return path


def yolo(folder: Path) -> Path:
    for name in FILES:
        lines = []
        for of, _, points, (left, top, wide, high) in creatures():
            if of == name:
                values = [(left + wide / 2) / SIZE[0], (top + high / 2) / SIZE[1], wide / SIZE[0], high / SIZE[1]]
                for point in NAMES:
                    x, y, v = points.get(point, (0, 0, 0))
                    values += [x / SIZE[0], y / SIZE[1], v]
                lines.append("0 " + " ".join(f"{value:.6f}" for value in values))
        target = folder / "images" / "train" / name
        target.parent.mkdir(parents=True, exist_ok=True)
        (folder / name).rename(target)
        if lines:
            _write((folder / "labels" / "train" / name).with_suffix(".txt"), "\n".join(lines))
    text = "path: /home/somebody/data\ntrain: images/train\nkpt_shape: [5, 3]\nflip_idx: [1, 0, 2, 4, 3]\n"
    return _write(folder / "data.yaml", f"{text}names:\n  0: creature\nkpt_names:\n  0: [{', '.join(NAMES)}]\n")


def ultralytics(folder: Path) -> Path:
    """Paths of the machine that trained: an absolute folder for one split, a list of files for the other."""
    yolo(folder)
    lists = [f"./images/train/{name}" for name in FILES[1:]]
    _write(folder / "val.txt", "\n".join(lists) + "\n")
    (folder / "images" / "one").mkdir()
    (folder / "images" / "train" / FILES[0]).rename(folder / "images" / "one" / "a.png")
    (folder / "labels" / "one").mkdir()
    (folder / "labels" / "train" / FILES[0]).with_suffix(".txt").rename(folder / "labels" / "one" / "a.txt")
    head = (
        "# Ultralytics\npath: C:\\Users\\me\\datasets\\creatures # dataset root\ntrain: /home/me/creatures/images/one\n"
    )
    shape = "kpt_shape: [5, 3] # number of keypoints, dimensions\nflip_idx: [1, 0, 2, 4, 3]\n\nnames:\n  0: creature\n"
    more = "download: https://example.com/creatures.zip\n"
    return _write(folder / "data.yaml", f"{head}val: val.txt\n{shape}{more}")


def roboflow_yolo(folder: Path) -> Path:
    """Its paths begin with `..`, and its validation images lie in `valid`."""
    yolo(folder)
    for kind in ("images", "labels"):
        (folder / "valid").mkdir(exist_ok=True)
        (folder / kind / "train").rename(folder / "valid" / kind)
    paths = "train: ../train/images\nval: ../valid/images\ntest: ../test/images\n\n"
    shape = "kpt_shape: [5, 3]\nflip_idx: [1, 0, 2, 4, 3]\nnc: 1\nnames: ['creature']\n"
    shape += f"kpt_names:\n  0: [{', '.join(NAMES)}]\n"
    for kind in ("train", "test"):
        (folder / kind / "images").mkdir(parents=True)
    return _write(folder / "data.yaml", f"{paths}{shape}\nroboflow:\n  workspace: me\n  project: c\n  version: 1\n")


def via3(folder: Path) -> Path:
    """A project of VIA 3: options by number, a view for each file."""
    words = ["creature", *NAMES]
    choices = {str(place): word for place, word in enumerate(words)}
    project = {
        "project": {"pid": "__VIA_PROJECT_ID__", "data_format_version": "3.1.1", "vid_list": ["1", "2", "3"]},
        "config": {"file": {"loc_prefix": {"1": "", "2": "", "3": "", "4": ""}}, "ui": {}},
        "attribute": {
            "1": {"aname": "label", "anchor_id": "FILE1_Z0_XY1", "type": 4, "desc": "", "options": choices},
            "2": {"aname": "instance", "anchor_id": "FILE1_Z0_XY1", "type": 1, "desc": "", "options": {}},
            "3": {"aname": "occluded", "anchor_id": "FILE1_Z0_XY1", "type": 3, "options": {"0": "no", "1": "yes"}},
        },
        "file": {
            str(n): {"fid": str(n), "fname": name, "type": 2, "loc": 1, "src": ""} for n, name in enumerate(FILES, 1)
        },
        "view": {str(n): {"fid_list": [str(n)]} for n in range(1, len(FILES) + 1)},
        "metadata": {},
    }
    for view, name in enumerate(FILES, 1):
        for place, (shape, said) in enumerate(_via_regions(name)):
            kind, *sides = shape.values()
            values = {"1": str(words.index(said["label"])), "2": said["instance"]}
            values |= {"3": "1" if said.get("occluded") else "0"} if kind == "point" else {}
            one = {"vid": str(view), "flg": 0, "z": [], "xy": [1 if kind == "point" else 2, *sides], "av": values}
            project["metadata"][f"{view}_x{place}"] = one
    return _write(folder / "project.json", json.dumps(project))


def cvat_coco(folder: Path) -> Path:
    """CVAT's export as COCO Keypoints 1.0: one file for each subset, images below images/<subset>."""
    content = json.loads(coco(folder).read_text())
    (folder / "instances.json").unlink()
    content |= {"licenses": [{"name": "", "id": 0, "url": ""}], "info": {"contributor": "", "year": ""}}
    content["categories"][0]["supercategory"] = ""
    content["categories"].insert(0, {"id": 2, "name": "frame", "supercategory": ""})
    for one in content["annotations"]:
        one |= {"segmentation": [], "area": one["bbox"][2] * one["bbox"][3], "attributes": {"occluded": False}}
    for image in content["images"]:
        image |= {"license": 0, "flickr_url": "", "coco_url": "", "date_captured": 0}
        target = folder / "images" / "default" / image["file_name"]
        target.parent.mkdir(parents=True, exist_ok=True)
        (folder / image["file_name"]).rename(target)
    _write(folder / "annotations" / "person_keypoints_default.json", json.dumps(content))
    return folder


def labelstudio_min(folder: Path) -> Path:
    """JSON-MIN: regions without ids, so that boxes tell whose a point is; the words of one place may be one text."""
    tasks = json.loads(labelstudio(folder).read_text())
    (folder / "project-1-at-2026-11-30.json").unlink()
    found = []
    for task in tasks:
        result = task["annotations"][0]["result"]
        lists = {"kp": "keypointlabels", "bbox": "rectanglelabels"}
        size = {"original_width": SIZE[0], "original_height": SIZE[1]}
        regions = {
            k: [{**one["value"], **size, "meta": one.get("meta", {})} for one in result if one["type"] == kind]
            for k, kind in lists.items()
        }
        more = {"annotator": 1, "annotation_id": 1, "created_at": "2026-11-30T10:00:00Z", "lead_time": 9.1}
        found.append({**task["data"], "id": task["id"], **{k: v for k, v in regions.items() if v}, **more})
    return _write(folder / "project-1-min.json", json.dumps(found))


def coco(folder: Path) -> Path:
    images = [{"id": n, "file_name": name, "width": SIZE[0], "height": SIZE[1]} for n, name in enumerate(FILES, 1)]
    annotations = []
    for name, _, points, box in creatures():
        keypoints = [value for point in NAMES for value in points.get(point, (0, 0, 0))]
        place = {"id": len(annotations), "image_id": FILES.index(name) + 1, "category_id": 1, "iscrowd": 0}
        annotations.append({**place, "keypoints": keypoints, "bbox": list(box), "num_keypoints": len(points)})
    category = {"id": 1, "name": "creature", "keypoints": NAMES, "skeleton": [[1, 3], [2, 3]]}
    content = {"images": images, "annotations": annotations, "categories": [category]}
    return _write(folder / "instances.json", json.dumps(content))


def dlc(folder: Path) -> Path:
    """Multi-animal, without boxes and hidden points, which DeepLabCut does not know; an HDF5 file beside the CSV."""
    frames = folder / "labeled-data" / "film"
    columns = [(who, point, axis) for who in ("one", "two") for point in NAMES for axis in "xy"]
    rows = [["scorer", "", "", *["Me"] * len(columns)]]
    rows += [
        [title, "", "", *(column[place] for column in columns)]
        for place, title in enumerate(("individuals", "bodyparts", "coords"))
    ]
    for name in FILES:
        target = frames / Path(name).name
        target.parent.mkdir(parents=True, exist_ok=True)
        (folder / name).rename(target)
        people = dict(zip(("one", "two"), CREATURES[name], strict=False))
        cells = [people.get(who, {}).get(point, ("", ""))["xy".index(axis)] for who, point, axis in columns]
        rows.append(["labeled-data", "film", target.name, *map(str, cells)])
    _write(frames / "CollectedData_Me.csv", "\n".join(",".join(row) for row in rows))
    return _write(frames / "CollectedData_Me.h5", "\x89HDF")


def _write(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path
