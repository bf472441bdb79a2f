# SPDX-License-Identifier: Apache-2.0
from common import skeleton
from common.cli import UserError
from common.skeleton import BUILT_IN, COCO, OPENPOSE

import numpy as np
import pytest

FIVE = """
keypoints: [nose, left_wrist, right_wrist, left_ankle, right_ankle]
sigmas: [0.026, 0.062, 0.062, 0.089, 0.089]
flip_pairs: [[left_wrist, right_wrist], [left_ankle, right_ankle]]
derived: {waist: [left_wrist, right_wrist]}
limbs: [[nose, waist], [waist, left_ankle], [waist, right_ankle], [left_ankle, right_ankle]]
"""


@pytest.mark.parametrize("name", BUILT_IN)
def test_mirroring_twice_is_nothing_and_names_change_sides(name: str) -> None:
    built_in = BUILT_IN[name]
    for flip, names in ((built_in.keypoint_flip, built_in.keypoints), (built_in.point_flip, built_in.points)):
        assert (flip[flip] == np.arange(len(names))).all()
        mirrored = [names[index].replace("left", "?").replace("right", "left").replace("?", "right") for index in flip]
        assert tuple(mirrored) == names


def test_published_orders() -> None:
    """The order of the points (the neck is the second), and of the limbs as people are put together."""
    points = " ".join(map(str, OPENPOSE.keypoint_of_point))
    assert points == "0 -1 6 8 10 5 7 9 12 14 16 11 13 15 2 1 4 3"
    limbs = " ".join(f"{a}-{b}" for a, b in OPENPOSE.limb_points[list(OPENPOSE.assembly)])
    assert limbs == "1-2 1-5 2-3 3-4 5-6 6-7 1-8 8-9 9-10 1-11 11-12 12-13 1-0 0-14 14-16 0-15 15-17 2-16 5-17"


def test_shoulder_to_ear_closes_a_loop() -> None:
    closing = {OPENPOSE.limbs[limb] for limb in OPENPOSE.closing_limbs}
    assert closing == {("right_shoulder", "right_ear"), ("left_shoulder", "left_ear")}


def test_own_skeleton_from_a_file(tmp_path) -> None:
    path = tmp_path / "five.yaml"
    path.write_text(FIVE)
    own = skeleton.load(path)
    assert own.points == (*own.keypoints, "waist")
    assert (own.num_heatmaps, own.num_pafs) == (own.num_points + 1, 2 * len(own.limbs))
    assert own.closing_limbs == {3}
    assert own.drawn_limb_keypoints.tolist() == [[3, 4]]
    assert skeleton.load("coco") is COCO


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ("limbs: [[nose, tail]]", "tail"),
        ("sigmas: [0.1]", "1 sigmas, 5 keypoints"),
        ("flip_pairs: [[left_wrist, right_wrist], [left_wrist, nose]]", "two pairs"),
        ("derived: {nose: [left_wrist]}", "name of a keypoint"),
        ("assembly: [0, 0, 1, 2]", "each limb once"),
        ("colour: red", "colour"),
        ("colours: [[tail, '#ffffff']]", "colours: a point and '#rrggbb' are needed, not 'tail'"),
        ("colours: [[nose, red]]", "not 'nose': 'red'"),
        ("limbs: [nose", "flow sequence"),
    ],
)
def test_a_wrong_file_is_named_with_its_fault(tmp_path, change: str, complaint: str) -> None:
    path = tmp_path / "mine.yaml"
    key = change.split(":")[0]
    path.write_text("\n".join(line for line in FIVE.splitlines() if not line.startswith(f"{key}:")) + f"\n{change}\n")
    with pytest.raises(UserError, match=complaint) as caught:
        skeleton.load(path)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("keypoints: [a, b, c]\nlimbs: [[a, b, c]]", "limbs: a list of pairs of names"),
        ("keypoints: [a, b, c]\nflip_pairs: [[a, b, c]]", "flip_pairs: a list of pairs"),
        ("keypoints: [a, b]\nlimbs: [[a, b], [b, a]]", "a limb is listed twice"),
        ("keypoints: [a, b]\nlimbs: [[a, b]]\nassembly: [0.0]", "assembly: a list of numbers of limbs"),
        ("keypoints: nose", "keypoints: a list of names"),
        ("keypoints: [a, 3]", "keypoints: a list of names is needed, not 3"),
        ('keypoints: ["a\\e[31m"]', "keypoints: a list of names"),
        ("keypoints: [a]\nsigmas: narrow", "sigmas: a list of numbers"),
        ("keypoints: [a]\nsigmas: null", "sigmas: a list of numbers"),
        ("keypoints: [a]\nsigmas: [.nan]", "sigmas: a list of numbers"),
        ("keypoints: [a]\nderived: [neck]", "derived: "),
        ("keypoints: [a]\ncolours: [red]", "colours: "),
        ("keypoints: [a]\ncolours: [[a, 7]]", "colours: "),
        ("keypoints: [a]\nskeleton: x", "nothing reads the key 'skeleton'"),
        ("- a\n- b", "no `keypoints"),
        ("", "no `keypoints"),
        ("a: &a [x]\nkeypoints: *a", "references"),
        ("keypoints: " + "[" * 20_000, "no YAML"),
        ("#" * 70_000, "more than such a file can have"),
    ],
)
def test_every_fault_of_a_file_is_one_line(tmp_path, text: str, complaint: str) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(text)
    with pytest.raises(UserError, match=rf"mine\.yaml: .*{complaint}") as caught:
        skeleton.load(path)
    assert "\n" not in str(caught.value) and str(caught.value).isprintable() and len(str(caught.value)) < 400


def test_files_of_users(shared) -> None:
    """Which of the collected files are read; each other one is one line that names it."""
    read = {"ok.yaml", "utf8.yaml", "bom.yaml", "nolimbs.yaml"}
    for path in (shared / "cases" / "skeletons").iterdir():
        if path.name in read:
            assert skeleton.load(path).num_keypoints >= 2
        else:
            with pytest.raises(UserError, match=path.name):
                skeleton.load(path)
