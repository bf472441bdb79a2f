# SPDX-License-Identifier: Apache-2.0
"""Every format says the same of the same data set; results train; odd files are one line."""

import json
from pathlib import Path

from common.cli import UserError
from common.coco import images, reader, validate
from common.test.test_coco_images import tagged
from tools.convert import __main__ as convert
from tools.convert import coco, cvat, frames, labelstudio, places, yolo
from tools.convert.dataset import Category, Dataset, Image, Instance
from tools.test import exports

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

FORMATS = {
    "cvat": exports.cvat,
    "labelstudio": exports.labelstudio,
    "labelme": exports.labelme,
    "via": exports.via,
    "via_csv": exports.via_csv,
    "yolo": exports.yolo,
    "coco": exports.coco,
    "dlc": exports.dlc,
    "yolo_roboflow": exports.roboflow_yolo,
    "via_3": exports.via3,
    "coco_cvat": exports.cvat_coco,
    "labelstudio_min": exports.labelstudio_min,
}


def run(source, target, *words: str, kind: str = "cvat", to: str = "coco") -> Path:
    convert.main([f"--from={kind}", f"--to={to}", f"--source={source}", f"--target={target}", *words])
    return Path(target)


def written(folder: Path, subset: str = "train") -> dict:
    return json.loads((folder / "annotations" / f"person_keypoints_{subset}2017.json").read_text())


def people(content: dict) -> dict[str, list]:
    """name of the image -> keypoints (K, 3) by name, and boxes."""
    names = content["categories"][0]["keypoints"]
    found = {image["file_name"]: [] for image in content["images"]}
    owner = {image["id"]: image["file_name"] for image in content["images"]}
    for one in content["annotations"]:
        rows = dict(zip(names, np.array(one["keypoints"]).reshape(-1, 3).tolist(), strict=True))
        found[owner[one["image_id"]]].append((rows, one["bbox"]))
    return found


@pytest.mark.parametrize("kind", FORMATS)
def test_each_format_says_the_same(tmp_path, kind):
    source = FORMATS[kind](exports.draw(tmp_path / "in"))
    target = run(source, tmp_path / "out", "--val=0", kind=kind.partition("_")[0])
    found = people(written(target))
    plain = kind == "dlc"
    for name in exports.FILES:
        key = f"film/{Path(name).name}" if plain else name
        assert len(found[key]) == len(exports.CREATURES[name])
        for (rows, box), points, wanted in zip(
            found[key], exports.CREATURES[name], exports.BOXES.get(name, ()), strict=True
        ):
            assert set(rows) == set(exports.NAMES)
            for point, row in rows.items():
                x, y, v = points.get(point, (0, 0, 0))
                np.testing.assert_allclose(row, (x, y, 2 if plain and v else v), atol=1e-3)
            if not plain:
                np.testing.assert_allclose(box, wanted, atol=1e-3)
        assert (target / "train2017" / key).is_file()
    errors = [one for one in validate.check(target) if one.is_error and "val2017" not in one.file]
    assert not errors


def test_the_result_trains_without_a_word(tmp_path, capsys):
    exports.cvat(exports.draw(tmp_path / "in"))
    target = run(tmp_path / "in", tmp_path / "out", "--val=0.3")
    assert "3 images (2 train, 1 val)" in capsys.readouterr().out
    index = reader.load(images.annotation_file(target, "train"))
    assert index.keypoints.shape[1:] == (5, 3)
    from common.skeleton import load

    assert load(target / "skeleton.yaml").flip_pairs == (("left_eye", "right_eye"), ("left_foot", "right_foot"))


@pytest.mark.parametrize("to", ["coco", "yolo"])
def test_links_and_copies(tmp_path, to):
    exports.cvat(exports.draw(tmp_path / "in"))
    for how in ("link", "copy"):
        target = run(tmp_path / "in", tmp_path / how, f"--place_images={how}", "--val=0.3", to=to)
        found = list(target.rglob("*.png"))
        assert len(found) == 3 and all(path.is_symlink() == (how == "link") for path in found)


def test_yolo_and_cvat_go_round(tmp_path):
    exports.coco(exports.draw(tmp_path / "in"))
    first = run(tmp_path / "in", tmp_path / "first", "--val=0", kind="coco")
    for kind in ("yolo", "cvat"):
        middle = run(first, tmp_path / kind, "--val=0", kind="coco", to=kind)
        last = run(middle, tmp_path / f"{kind} back", "--val=0", f"--images={tmp_path / 'in'}", kind=kind)
        assert_near(last, first)


def assert_near(a: Path, b: Path) -> None:
    ours, theirs = people(written(a)), people(written(b))
    assert ours.keys() == theirs.keys()
    for name, rows in ours.items():
        for (points, box), (wanted, around) in zip(rows, theirs[name], strict=True):
            np.testing.assert_allclose(list(points.values()), list(wanted.values()), atol=0.02)
            np.testing.assert_allclose(box, around, atol=0.02)


coordinates = st.floats(0, 500, allow_nan=False).map(lambda value: round(value, 2))
points = st.tuples(coordinates, coordinates, st.sampled_from([0, 1, 2]))
creature = st.tuples(st.lists(points, min_size=3, max_size=3), st.booleans())


@settings(deadline=None, max_examples=40)
@given(st.lists(st.lists(creature, max_size=3), min_size=1, max_size=3))
def test_what_is_written_is_read_again(tmp_path_factory, drawn):
    folder = tmp_path_factory.mktemp("round")
    category = Category("a <b> & 'c' \"d\"", ("nose", "left & eye", "right & eye"), (("nose", "left & eye"),))
    rows = []
    for place, several in enumerate(drawn):
        found = [np.array([point if point[2] else (0, 0, 0) for point in one], float) for one, _ in several]
        boxes = [frames.around(one) if boxed else None for one, (_, boxed) in zip(found, several, strict=True)]
        kept = [Instance(category.name, one, box) for one, box in zip(found, boxes, strict=True) if one[:, 2].any()]
        rows.append(Image(f"ä {place}.png", (640, 512), tuple(kept)))
    dataset = Dataset(folder, {category.name: category}, rows)
    for module, name in ((cvat, "annotations.xml"), (labelstudio, "tasks.json")):
        with (folder / name).open("w", encoding="utf-8") as file:
            module.write(dataset, file)
    again = cvat.read(folder / "annotations.xml")
    assert again.categories[category.name].keypoints == category.keypoints
    assert again.categories[category.name].limbs == category.limbs
    for image, back in zip(rows, again.images, strict=True):
        assert (image.name, image.size) == (back.name, back.size)
        for one, other in zip(image.instances, back.instances, strict=True):
            np.testing.assert_allclose(one.keypoints, other.keypoints, atol=0.006)
            assert (one.box is None) == (other.box is None)
    tasks = json.loads((folder / "tasks.json").read_text())
    for task in tasks:  # predictions become an annotation when a person accepts them
        task["annotations"] = [{"result": task.pop("predictions")[0]["result"]}]
    (folder / "tasks.json").write_text(json.dumps(tasks))
    studio = labelstudio.read(folder / "tasks.json")
    for image, back in zip(rows, studio.images, strict=True):
        for one, other in zip(image.instances, back.instances, strict=True):
            names = studio.categories[category.name].keypoints
            for name, row in zip(category.keypoints, one.keypoints, strict=True):
                theirs = other.keypoints[names.index(name)] if name in names else np.zeros(3)
                np.testing.assert_allclose(theirs, row, atol=1e-6)


def marked(orientation: int) -> tuple[bytes, tuple[int, int], tuple[float, float]]:
    """A JPEG whose shown image has a white spot, the shown size, and where the spot is shown."""
    shown = np.zeros((48, 96, 3), np.uint8)
    shown[8:16, 64:72] = 255
    code = {6: cv2.ROTATE_90_COUNTERCLOCKWISE, 8: cv2.ROTATE_90_CLOCKWISE, 3: cv2.ROTATE_180}
    mirrored = {2: 1, 4: 0}
    if orientation in code:
        stored = cv2.rotate(shown, code[orientation])
    elif orientation in mirrored:
        stored = cv2.flip(shown, mirrored[orientation])
    else:
        stored = {1: shown, 5: cv2.transpose(shown), 7: cv2.flip(cv2.transpose(shown), -1)}[orientation]
    return tagged(cv2.imencode(".jpg", stored)[1].tobytes(), orientation), (96, 48), (68.0, 12.0)


@pytest.mark.parametrize("exif", ["ignore", "turn"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_points_stay_on_turned_images(tmp_path, orientation, exif):
    data, (width, height), (x, y) = marked(orientation)
    (tmp_path / "a.jpg").write_bytes(data)
    image = f'<image id="0" name="a.jpg" width="{width}" height="{height}">'
    skeleton = f'<skeleton label="c"><points label="left_p" outside="0" occluded="0" points="{x},{y}"/>'
    skeleton += '<points label="right_p" outside="1" occluded="0" points="0,0"/></skeleton>'
    (tmp_path / "annotations.xml").write_text(f"<annotations>{image}{skeleton}</image></annotations>")
    target = run(tmp_path, tmp_path / "out", "--val=0", f"--exif={exif}")
    ((rows, box),) = people(written(target))["a.jpg"]
    ((name, (left, top, _)),) = [(name, row) for name, row in rows.items() if row[2]]
    pixels = images.read_image(target / "train2017", "a.jpg", exif)
    assert pixels[int(top), int(left)].min() > 200
    assert box[0] < left < box[0] + box[2] and box[1] < top < box[1] + box[3]
    assert name == ("right_p" if exif == "ignore" and orientation in frames.MIRRORED else "left_p")
    assert written(target)["images"][0]["width"] == pixels.shape[1]


def test_the_size_tells_what_the_tool_showed(tmp_path):
    data, (width, height), (x, y) = marked(6)
    (tmp_path / "a.jpg").write_bytes(data)
    exports._write(
        tmp_path / "a.json",
        json.dumps(
            {
                "images": [{"id": 1, "file_name": "a.jpg", "width": width, "height": height}],
                "annotations": [
                    {"id": 1, "image_id": 1, "category_id": 1, "keypoints": [x, y, 2], "bbox": [x, y, 2, 2]}
                ],
                "categories": [{"id": 1, "name": "c", "keypoints": ["p"]}],
            }
        ),
    )
    target = run(tmp_path / "a.json", tmp_path / "out", "--val=0", kind="coco")
    ((rows, _),) = people(written(target))["a.jpg"]
    pixels = images.read_image(target / "train2017", "a.jpg")
    assert pixels[int(rows["p"][1]), int(rows["p"][0])].min() > 200


@pytest.mark.parametrize(
    "name",
    ["C:\\Users\\me\\day one\\a.png", "/mnt/data/day one/a.png", "../day one/a.png", "3f2a1b4c-a.png", "DAY ONE/A.PNG"],
)
def test_images_are_found_by_the_end_of_their_path(tmp_path, name):
    exports.draw(tmp_path)
    assert places.ImageFolder(tmp_path).find(name) == tmp_path / "day one" / "a.png"


def test_two_files_that_fit_are_named(tmp_path):
    exports.draw(tmp_path)
    (tmp_path / "day two").mkdir()
    (tmp_path / "day two" / "a.png").write_bytes((tmp_path / "day one" / "a.png").read_bytes())
    with pytest.raises(UserError, match=r"may be day one/a.png, day two/a.png; .*--images"):
        places.ImageFolder(tmp_path).find("a.png")
    assert places.ImageFolder(tmp_path).find("x/day two/a.png") == tmp_path / "day two" / "a.png"


def many(folder: Path, count: int = 40) -> Path:
    folder.mkdir(parents=True)
    cv2.imwrite(str(folder / "one.png"), np.zeros((20, 20, 3), np.uint8))
    text = "<annotations>"
    for place in range(count):
        name = f"film{place // 8}_frame{place}.png"
        (folder / name).write_bytes((folder / "one.png").read_bytes())
        text += f'<image name="{name}" width="20" height="20"><points label="p" points="5,5;9,9"/></image>'
    return exports._write(folder / "annotations.xml", text + "</annotations>")


def names_of(folder: Path, subset: str) -> set[str]:
    return {image["file_name"] for image in written(folder, subset)["images"]}


def test_the_split_is_by_name_and_by_group(tmp_path):
    source = many(tmp_path / "in")
    first = run(source, tmp_path / "1", "--val=0.25")
    again = run(source, tmp_path / "2", "--val=0.25")
    other = run(source, tmp_path / "3", "--val=0.25", "--seed=1")
    assert names_of(first, "val") == names_of(again, "val") != names_of(other, "val")
    assert len(names_of(first, "val")) == 10 and len(names_of(first, "train")) == 30
    grouped = run(source, tmp_path / "4", "--val=0.2", r"--split_by=^film\d")
    films = {subset: {name[:5] for name in names_of(grouped, subset)} for subset in ("train", "val")}
    assert films["train"] | films["val"] == {f"film{n}" for n in range(5)} and not films["train"] & films["val"]
    few = run(source, tmp_path / "5", "--num_images=7")
    assert len(names_of(few, "train") | names_of(few, "val")) == 7


def test_several_categories_are_listed_and_one_is_chosen(tmp_path, capsys):
    exports.draw(tmp_path / "in")
    skeletons = "".join(
        f'<skeleton label="{name}"><points label="p" points="5,5" outside="0" occluded="0"/></skeleton>'
        for name in ("cat", "dog")
    )
    text = f'<annotations><image name="c.png" width="64" height="48">{skeletons}</image></annotations>'
    source = exports._write(tmp_path / "in" / "annotations.xml", text)
    with pytest.raises(UserError, match=r"choose with --category: cat \(1 keypoints\), dog \(1 keypoints\)"):
        run(source, tmp_path / "out")
    with pytest.raises(UserError, match="no category 'cow'"):
        run(source, tmp_path / "out", "--category=cow")
    target = run(source, tmp_path / "out", "--category=dog", "--val=0")
    assert [one["name"] for one in written(target)["categories"]] == ["dog"]
    assert "1 annotations of other categories are left out" in capsys.readouterr().err


def test_points_without_groups_belong_to_the_boxes_around_them(tmp_path):
    shapes = [{"label": "creature", "shape_type": "rectangle", "points": [[0, 0], [20, 40]]}]
    shapes += [{"label": "creature", "shape_type": "rectangle", "points": [[30, 0], [60, 40]]}]
    shapes += [{"label": "p", "shape_type": "point", "points": [[x, 10]]} for x in (35, 5)]
    content = {"shapes": shapes, "imagePath": "c.png", "imageWidth": 64, "imageHeight": 48}
    exports._write(exports.draw(tmp_path / "in") / "c.json", json.dumps(content))
    found = people(written(run(tmp_path / "in", tmp_path / "out", "--val=0", kind="labelme")))["c.png"]
    assert [(rows["p"][0], box[0]) for rows, box in found] == [(5, 0), (35, 30)]


@pytest.mark.parametrize(("rotation", "x", "y"), [(0, 10, 20), (90, 80, 10), (180, 90, 80), (270, 20, 90)])
def test_images_that_were_turned_in_label_studio(tmp_path, rotation, x, y):
    spot = {"x": x, "y": y, "width": 1, "keypointlabels": ["p"]}
    region = {"type": "keypointlabels", "id": "a", "value": spot, "image_rotation": rotation}
    region |= {"original_width": 64, "original_height": 48}
    tasks = [{"id": 1, "annotations": [{"result": [region]}], "data": {"image": "/data/upload/1/3f2a1b4c-c.png"}}]
    exports._write(exports.draw(tmp_path / "in") / "tasks.json", json.dumps(tasks))
    found = people(written(run(tmp_path / "in" / "tasks.json", tmp_path / "out", "--val=0", kind="labelstudio")))
    ((rows, _),) = found["c.png"]
    np.testing.assert_allclose(rows["p"], [6.4, 9.6, 2], atol=1e-3)


def test_json_min_and_relations(tmp_path):
    spot = {"x": 50, "y": 50, "width": 1, "keypointlabels": ["p"], "original_width": 64, "original_height": 48}
    exports.draw(tmp_path / "in")
    source = exports._write(tmp_path / "in" / "min.json", json.dumps([{"id": 1, "img": "c.png", "kp": [spot]}]))
    ((rows, _),) = people(written(run(source, tmp_path / "out", "--val=0", kind="labelstudio")))["c.png"]
    assert rows["p"] == [32, 24, 2]
    boxes = [
        {"id": f"b{n}", "value": {"x": 0, "y": 0, "width": 99, "height": 99, "rectanglelabels": ["c"]}} for n in (1, 2)
    ]
    marks = [{"id": f"k{n}", "value": {"x": 10.0 * n, "y": 9, "keypointlabels": ["p"]}} for n in (1, 2)]
    ties = [{"type": "relation", "from_id": f"k{n}", "to_id": f"b{3 - n}"} for n in (1, 2)]
    tasks = [{"id": 1, "annotations": [{"result": boxes + marks + ties}], "data": {"image": "c.png"}}]
    source = exports._write(tmp_path / "in" / "full.json", json.dumps(tasks))
    found = people(written(run(source, tmp_path / "2", "--val=0", kind="labelstudio")))["c.png"]
    assert [round(rows["p"][0], 1) for rows, _ in found] == [12.8, 6.4]


def test_points_and_rectangles_beside_labels(tmp_path):
    around = {"original_width": 64, "original_height": 48, "type": "labels"}
    box = {**around, "id": "b", "value": {"x": 0, "y": 0, "width": 90, "height": 90, "labels": ["creature"]}}
    spot = {**around, "id": "k", "value": {"x": 50, "y": 50, "width": 1, "labels": ["p"]}}
    tasks = [{"id": 1, "annotations": [{"result": [box, spot]}], "data": {"image": "c.png"}}]
    source = exports._write(exports.draw(tmp_path / "in") / "a.json", json.dumps(tasks))
    ((rows, around_it),) = people(written(run(source, tmp_path / "out", "--val=0", kind="labelstudio")))["c.png"]
    assert rows["p"] == [32, 24, 2] and around_it == pytest.approx([0, 0, 57.6, 43.2])


def test_links_of_an_earlier_result_are_no_second_images(tmp_path):
    source = exports.cvat(exports.draw(tmp_path / "in"))
    run(source, tmp_path / "in" / "first")
    assert len(people(written(run(source, tmp_path / "in" / "second", "--val=0")))) == 3


def test_halpe_has_26_points_of_the_body(tmp_path):
    content = {
        "images": [{"id": 1, "file_name": "c.png", "width": 64, "height": 48}],
        "annotations": [{"id": 1, "image_id": 1, "bbox": [1, 1, 30, 30], "keypoints": [9, 8, 2] * 136}],
    }
    source = exports._write(exports.draw(tmp_path / "in") / "halpe_train_v1.json", json.dumps(content))
    found = written(run(source, tmp_path / "out", "--val=0", kind="halpe"))
    assert len(found["categories"][0]["keypoints"]) == 26 and found["categories"][0]["keypoints"][19] == "pelvis"
    assert found["annotations"][0]["num_keypoints"] == 26


def test_roboflow_and_published_folders_keep_their_split(tmp_path):
    exports.draw(tmp_path / "in" / "train")
    exports.draw(tmp_path / "in" / "valid")
    for subset in ("train", "valid"):
        text = exports.coco(tmp_path / "in" / subset)
        text.rename(tmp_path / "in" / subset / "_annotations.coco.json")
    target = run(tmp_path / "in", tmp_path / "out", kind="coco")
    assert names_of(target, "train") == names_of(target, "val") == set(exports.FILES)
    again = run(target, tmp_path / "again", kind="coco")
    assert written(again, "val") == written(target, "val")


def test_yolo_without_names_takes_those_of_a_skeleton(tmp_path):
    source = exports.yolo(exports.draw(tmp_path / "in"))
    source.write_text(source.read_text().split("kpt_names")[0])
    assert yolo.read(source).categories["creature"].keypoints[0] == "point_0"
    skeleton = exports._write(
        tmp_path / "s.yaml", f"keypoints: [{', '.join(exports.NAMES)}]\nlimbs: [[left_eye, tail]]\n"
    )
    target = run(source, tmp_path / "out", f"--skeleton={skeleton}", "--val=0", kind="yolo")
    assert coco.read(target).categories["creature"].keypoints == exports.NAMES
