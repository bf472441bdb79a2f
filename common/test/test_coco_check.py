# SPDX-License-Identifier: Apache-2.0
"""A sound data set has no findings; each thing that can be wrong has one that names it."""

import copy
import json
import shutil
from pathlib import Path

from common.cli import UserError
from common.coco import images, rules, validate
from common.coco.mini import dataset
from common.coco.rules import Finding
from common.skeleton import COCO, Skeleton
from common.test.test_coco_images import tagged

import cv2
import numpy as np
import pytest

NUM_IMAGES = 18


@pytest.fixture(scope="module")
def pristine(tmp_path_factory) -> Path:
    return dataset.write(tmp_path_factory.mktemp("pristine"), NUM_IMAGES, 0)


@pytest.fixture
def drawn(tmp_path, pristine) -> Path:
    return shutil.copytree(pristine, tmp_path / "drawn")


def findings_after(folder: Path, change, **options) -> list[Finding]:
    """The findings in a data set after `change` has been made to its training annotations, and no validation split."""
    (folder / "annotations" / "person_keypoints_val2017.json").unlink(missing_ok=True)
    path = images.annotation_file(folder, "train")
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))
    return validate.check(folder, **options)


def first_person(content: dict) -> dict:
    return next(person for person in content["annotations"] if person["num_keypoints"] == COCO.num_keypoints)


def unchanged(content: dict) -> None:
    pass


def test_a_sound_data_set_has_no_findings(drawn):
    assert findings_after(drawn, unchanged, points=COCO) == []


def test_real_data_has_no_findings(shared):
    assert validate.check(shared / "data" / "coco-mini", COCO) == []


def set_keypoint(content: dict, x: float, y: float, v: int) -> None:
    first_person(content)["keypoints"][-3:] = [x, y, v]


CHANGES = {
    "outside the image": (lambda c: set_keypoint(c, 5000, 3, 2), "outside", "1 keypoints lie outside"),
    "bad v": (lambda c: set_keypoint(c, 5, 5, 3), "visibility", "v is 3"),
    "NaN": (lambda c: set_keypoint(c, float("nan"), 5, 2), "field", "NaN"),
    "too few": (lambda c: first_person(c).update(keypoints=[1, 1, 2]), "field", "3 keypoint numbers, not 3 x 17"),
    "negative box": (lambda c: first_person(c).update(bbox=[9, 9, -5, 5]), "box", "size -5 x 5"),
    "box outside": (lambda c: first_person(c).update(bbox=[9, 9, 5000, 5]), "outside", "reaches out"),
    "unknown image": (lambda c: first_person(c).update(image_id=99), "field", "image 99 does not exist"),
}


@pytest.mark.parametrize("name", CHANGES)
def test_what_is_wrong_with_an_annotation_is_found(drawn, name):
    change, kind, what = CHANGES[name]
    content = json.loads(images.annotation_file(drawn, "train").read_text())
    (finding,) = findings_after(drawn, change, images=False)
    assert (finding.kind, finding.is_error) == (kind, True)
    assert finding.subject == f"annotation {first_person(content)['id']}"
    assert what in finding.what and "\n" not in str(finding) and "train2017.json: annotation" in str(finding)


@pytest.mark.parametrize(
    ("changes", "kind", "what"),
    [
        ({"category_id": 5}, "category", "people are the category '1' ('person'); left out: '5'"),
        ({"area": None}, "area", "annotations have no area above 1 px"),
        ({"bbox": [9, 9, 0, 5]}, "box", "size 0 x 5"),
    ],
)
def test_what_training_copes_with_is_a_warning(drawn, changes, kind, what):
    found = findings_after(drawn, lambda c: first_person(c).update(changes), images=False)
    assert not any(finding.is_error for finding in found)
    assert (found[0].kind, kind in {finding.kind for finding in found}) == (kind, True) and what in found[0].what


def test_ids_that_stand_twice_are_found(drawn):
    def change(content: dict) -> None:
        content["annotations"][1]["id"] = content["annotations"][0]["id"]
        content["images"].append(content["images"][0])

    found = findings_after(drawn, change, images=False)
    assert [finding.subject.split()[0] for finding in found] == ["image", "annotation", "annotation"]
    assert all("there is another" in finding.what for finding in found)


@pytest.mark.parametrize(
    ("change", "kind"),
    [
        (lambda c: c["images"].append({"id": "x"}), "field"),
        (lambda c: c["annotations"].append({"id": [1], "image_id": [2], "category_id": 1}), "field"),
        (lambda c: c.update(annotations=[], categories=[]), "people"),
    ],
)
def test_whatever_stands_in_the_file_is_survived(drawn, change, kind):
    assert kind in [finding.kind for finding in findings_after(drawn, change, images=False)]


def test_crowds_are_checked(drawn):
    def crowd_of(content: dict) -> dict:
        return next(person for person in content["annotations"] if person["iscrowd"])

    (finding,) = findings_after(drawn, lambda c: crowd_of(c)["segmentation"].update(counts=[4]), images=False)
    assert finding.kind == "crowd" and finding.is_error
    assert findings_after(drawn, lambda c: crowd_of(c).pop("segmentation"), images=False) == []


def test_a_file_that_is_cut_short_is_a_finding(drawn):
    path = images.annotation_file(drawn, "train")
    path.write_text(path.read_text()[:-40])
    length = len(path.read_text())
    (finding,) = [finding for finding in validate.check(drawn, images=False) if finding.kind == "file"]
    assert finding.is_error and "cut short" in finding.what and f"character {length} of {length}" in finding.what


def test_images_are_read_and_measured(drawn):
    folder = images.image_folder(drawn, "train")
    names = [image["file_name"] for image in json.loads(images.annotation_file(drawn, "train").read_text())["images"]]
    (folder / names[0]).unlink()
    (folder / names[1]).write_bytes((folder / names[1]).read_bytes()[:900])
    cv2.imwrite(str(folder / names[2]), np.zeros((10, 20, 3), np.uint8))
    found = {finding.subject: (finding.kind, finding.what) for finding in findings_after(drawn, unchanged)}
    assert set(found) == {"image 1", "image 2", "image 3"}
    assert found["image 1"][0] == "image" and "No such file" in found["image 1"][1]
    assert found["image 2"][0] == "image" and "cut short" in found["image 2"][1]
    assert found["image 3"][0] == "size" and "has 20 x 10 pixels" in found["image 3"][1]


@pytest.mark.parametrize(("orientation", "is_error"), [(3, False), (6, True)])
def test_orientation_tags_are_named(drawn, orientation, is_error):
    """What a tool shows upright it annotates upright; a quarter turn shows in the size, half a turn does not."""
    folder = images.image_folder(drawn, "train")
    path = folder / "000000000001.jpg"
    stored = cv2.rotate(cv2.imread(str(path)), {3: cv2.ROTATE_180, 6: cv2.ROTATE_90_COUNTERCLOCKWISE}[orientation])
    path.write_bytes(tagged(cv2.imencode(".jpg", stored)[1].tobytes(), orientation))
    (finding,) = findings_after(drawn, unchanged)
    assert (finding.subject, finding.is_error) == ("image 1", is_error) and "--exif=turn" in str(finding)
    (finding,) = findings_after(drawn, unchanged, exif="turn")
    assert (finding.subject, finding.kind, finding.is_error) == ("image 1", "exif", False)


def test_a_folder_of_one_split_alone_is_a_warning(drawn):
    images.image_folder(drawn, "val").rmdir()
    (finding,) = [finding for finding in validate.check(drawn) if finding.kind == "images"]
    assert finding.file.endswith("val2017") and not finding.is_error
    images.image_folder(drawn, "train").rename(drawn / "elsewhere")
    assert [finding.is_error for finding in validate.check(drawn) if finding.kind == "images"] == [True, True]
    with pytest.raises(UserError, match="--data_path=mini"):
        validate.check(drawn / "nowhere")


# --- left and right ---


def exchange(person: dict) -> None:
    points = np.array(person["keypoints"]).reshape(-1, 3)
    person["keypoints"] = points[COCO.keypoint_flip].ravel().tolist()


def test_exchanged_sides_of_all_are_one_error_more(drawn):
    findings = findings_after(drawn, lambda c: [exchange(person) for person in c["annotations"]], images=False)
    whole = [finding for finding in findings if not finding.subject]
    assert len(whole) == 1 and whole[0].is_error and {finding.kind for finding in findings} == {"sides"}


@pytest.mark.parametrize(("people", "is_error"), [(20, True), (150, False)])
def test_exchanged_sides_of_one_are_a_slip_among_hundreds(drawn, people, is_error):
    def change(content: dict) -> None:
        person = first_person(content)
        content["annotations"] = [copy.deepcopy(person) | {"id": number} for number in range(people)]
        exchange(content["annotations"][7])

    (finding,) = findings_after(drawn, change, images=False)
    assert (finding.kind, finding.subject, finding.is_error) == ("sides", "annotation 7", is_error)


@pytest.mark.parametrize("degrees", [0, 90, 180, 250])
def test_sides_are_told_of_people_who_lie_or_stand_on_their_head(degrees):
    upright = {
        "nose": (50, 20),
        "left_eye": (54, 16),
        "right_eye": (46, 16),
        "left_ear": (58, 18),
        "right_ear": (42, 18),
        "left_shoulder": (65, 40),
        "right_shoulder": (35, 40),
        "left_hip": (60, 90),
        "right_hip": (40, 90),
    }
    angle = np.deg2rad(degrees)
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    points = np.zeros((1, 17, 3))
    for name, point in upright.items():
        points[0, COCO.keypoints.index(name)] = [*(turn @ point), 2]
    assert [flags.tolist() for flags in rules.exchanged(points, COCO.keypoints)] == [[True], [False]]
    assert [flags.tolist() for flags in rules.exchanged(points[:, COCO.keypoint_flip], COCO.keypoints)] == [[True]] * 2
    from_behind = points.copy()
    from_behind[0, COCO.keypoints.index("nose"), 2] = 0
    assert not rules.exchanged(from_behind[:, COCO.keypoint_flip], COCO.keypoints)[0].any()


def test_flip_pairs_that_contradict_the_names_are_found(drawn):
    names = ("nose", "left_hand", "right_hand", "left_foot", "right_foot")
    sound = Skeleton("own", names, (0.05,) * 5, (("left_hand", "right_hand"), ("left_foot", "right_foot")))
    crossed = Skeleton("own", names, (0.05,) * 5, (("left_hand", "right_foot"), ("left_foot", "right_hand")))
    assert rules.broken_skeleton(sound) == []
    assert len(rules.broken_skeleton(crossed)) == 4
    assert len(rules.broken_skeleton(Skeleton("own", names, (0.05,) * 5, ()))) == 4
    kinds = [finding.kind for finding in findings_after(drawn, unchanged, points=sound, images=False)]
    assert kinds == ["skeleton"]  # the file's names are others


# --- the command ---


def command(capsys, *words: str) -> tuple[int, list[str]]:
    with pytest.raises(SystemExit) as end:
        validate.main(words)
    return end.value.code, capsys.readouterr().out.splitlines()


def test_command(drawn, capsys):
    images.annotation_file(drawn, "val").unlink()
    assert command(capsys, str(drawn)) == (0, ["0 errors, 0 warnings"])
    for image in list(images.image_folder(drawn, "train").iterdir())[:5]:
        image.unlink()
    code, lines = command(capsys, str(drawn), "--limit", "2")
    assert code == 1 and len(lines) == 4 and lines[0].startswith("error: ") and "train2017" in lines[0]
    assert lines[2].startswith("... and 3 more") and lines[3] == "5 errors, 0 warnings"


def test_the_page_has_the_findings_beside_their_images_sides_first(drawn, tmp_path, capsys):
    path = images.annotation_file(drawn, "train")
    content = json.loads(path.read_text())
    people = [one for one in content["annotations"] if one["num_keypoints"] and not one["iscrowd"]]
    people[0]["bbox"][2] = 0
    for person in people[1:]:
        rows = np.array(person["keypoints"]).reshape(-1, 3)[COCO.keypoint_flip]
        person["keypoints"] = rows.ravel().tolist()
    path.write_text(json.dumps(content))
    images.annotation_file(drawn, "val").unlink()
    assert command(capsys, str(drawn), "--images=false", f"--html={tmp_path / 'page.html'}")[0] == 1
    page = (tmp_path / "page.html").read_text()
    sides_at, count_at = page.index("faces the camera"), page.index("the box has the size")
    assert sides_at < count_at and page.count("<figure>") > 2 and "<li" in page
