# SPDX-License-Identifier: Apache-2.0
import json
import shutil
from pathlib import Path

from AlphaPose import data
from AlphaPose.config import Config
from AlphaPose.data import TrainSamples, normalise_batch, proposal
from AlphaPose.keys import TRAIN_LABELS
from AlphaPose.predict import normalise_crops
from common.cli import ImageError, UserError
from common.skeleton import COCO
from common.topdown.targets import collate

import numpy as np
import pytest
import torch

AUG = "DATASET.TRAIN.AUG."
STILL = (AUG + "FLIP", False, AUG + "ROT_FACTOR", 0, AUG + "SCALE_FACTOR", 0)


def samples(folder: Path, *opts: object, **flags: object) -> TrainSamples:
    """Without augmentation, but for what `opts` say."""
    return TrainSamples(Config(data_path=str(folder), opts=(*STILL, *opts), **flags), COCO)


def test_nobody_is_an_error(tiny_coco: Path, tmp_path: Path) -> None:
    content = json.loads((tiny_coco / TRAIN_LABELS).read_text())
    for person in content["annotations"]:
        person |= {"keypoints": [0] * len(person["keypoints"]), "num_keypoints": 0}
    (tmp_path / "nobody.json").write_text(json.dumps(content))
    with pytest.raises(UserError, match="nobody.json: no person with labelled joints"):
        samples(tiny_coco, "DATASET.TRAIN.ANN", str(tmp_path / "nobody.json"))


def test_a_sample_is_the_person_in_the_middle(tiny_coco: Path) -> None:
    """Without augmentation the box's centre is that of the input, and a joint's pixel goes where the joint goes."""
    found = samples(tiny_coco)
    assert len(found) > 5
    for place in range(6):
        sample = found[0, place]
        assert sample["image"].shape == (256, 192, 3) and sample["image"].dtype == np.uint8
        row, box = int(found.people.person_rows[place]), found.people.boxes_img[place]
        seen = found.index.keypoints[row, :, 2] > 0
        assert (sample["visible"] == seen).all() and not sample["joints"][~seen].any()
        size = max(box[2], box[3] * 192 / 256) * 1.25
        wanted = (found.index.keypoints[row, :, :2] - (box[:2] + box[2:] / 2)) * 192 / size + (96, 128)
        assert np.abs(sample["joints"] - wanted)[seen].max() < 1e-2


def test_a_mirrored_sample_has_left_and_right_exchanged(tiny_coco: Path) -> None:
    """Draws of one person that differ in the flip alone: joints are mirrored, names change over."""
    found, still = samples(tiny_coco, AUG + "FLIP", True), samples(tiny_coco)[0, 0]
    drawn = [found[epoch, 0] for epoch in range(40)]
    flipped = [one for one in drawn if not np.array_equal(one["image"], still["image"])]
    assert 8 < len(flipped) < 32
    order = np.array(COCO.keypoint_flip)
    assert (still["visible"][order] == flipped[0]["visible"]).all()
    sums = (still["joints"][order] + flipped[0]["joints"])[flipped[0]["visible"] > 0][:, 0]
    assert np.ptp(sums) < 1e-6  # mirrored about one line


def test_randomness_is_that_of_the_position(tiny_coco: Path) -> None:
    found, again = (samples(tiny_coco, AUG + "SCALE_FACTOR", 0.3, AUG + "PROB_HALF_BODY", 0.5) for _ in range(2))
    assert np.array_equal(found[3, 1]["image"], again[3, 1]["image"])
    assert not np.array_equal(found[3, 1]["image"], found[4, 1]["image"])


def test_proposals_are_near_the_box_and_inside_the_image() -> None:
    random = np.random.default_rng(0)
    box = np.array([100.0, 50.0, 120.0, 200.0])
    drawn = np.array([proposal(box, (300, 400), random) for _ in range(2000)])
    assert (drawn[:, 2:] > 0).all() and (drawn[:, :2] >= 1).all()
    assert (drawn[:, :2] + drawn[:, 2:] <= (398, 298)).all()
    edges = np.hstack([drawn[:, :2], drawn[:, :2] + drawn[:, 2:]])
    parts = (edges - [100, 50, 220, 250]) / [120, 200, 120, 200]
    assert np.abs(np.median(parts, axis=0) - data.EDGE_MEANS).max() < 0.03  # patches inside the box pull it there
    inside = (drawn[:, :2] >= box[:2]).all(1) & (drawn[:, :2] + drawn[:, 2:] <= box[:2] + box[2:]).all(1)
    assert 0.1 < inside.mean() < 0.5  # sub-patches, and some of the others
    narrow = proposal(np.array([0.0, 0.0, 1.0, 1.0]), (4, 4), random)
    assert (narrow[2:] > 0).all()


def test_second_stage_begins_at_its_epoch(tiny_coco: Path) -> None:
    config, plain = ("TRAIN.DPG_MILESTONE", 2), samples(tiny_coco)[0, 0]["image"]
    assert np.array_equal(samples(tiny_coco, *config)[1, 0]["image"], plain)
    assert not np.array_equal(samples(tiny_coco, *config)[2, 0]["image"], plain)
    assert np.array_equal(samples(tiny_coco, *config, dpg=False)[2, 0]["image"], plain)


def test_normalised_as_published() -> None:
    """RGB minus the means; only a crop with a value above 1 is divided by 255. Evaluations do the same."""
    images = torch.zeros(2, 3, 2, 2, dtype=torch.uint8)
    images[0, 2], images[1, 0] = 255, 1  # blue; nearly black
    found = normalise_batch(images)
    assert torch.allclose(found[0, :, 0, 0], torch.tensor([-0.406, -0.457, 1 - 0.480]))
    assert torch.allclose(found[1, :, 0, 0], torch.tensor([1 - 0.406, -0.457, -0.480]))
    crops_bgr = images.permute(0, 2, 3, 1).flip(3).numpy()
    np.testing.assert_allclose(normalise_crops(crops_bgr), found.numpy(), rtol=0, atol=1e-6)


def test_an_unreadable_image(tmp_path: Path, tiny_coco: Path) -> None:
    folder = shutil.copytree(tiny_coco, tmp_path / "coco")
    found = samples(folder)
    broken = folder / "train2017" / found.index.file_name(int(found.people.image_rows[0]))
    broken.write_bytes(broken.read_bytes()[:500])
    with pytest.raises(ImageError, match=broken.name):
        samples(folder)[0, 0]


def test_golden_crops(shared: Path) -> None:
    """The crops of the original for people of coco-mini: the same pixels, joints and visibilities."""
    golden = np.load(shared / "golden" / "topdown" / "persons_alphapose.npz")
    cases = {int(golden[f"{case}/annotation_id"]): case for case in {name.split("/")[0] for name in golden}}
    checked = 0
    for split in ("train", "val"):
        opts = ("DATASET.TRAIN.ANN", f"annotations/person_keypoints_{split}2017.json")
        found = samples(shared / "data" / "coco-mini", *opts, "DATASET.TRAIN.IMG_PREFIX", f"{split}2017")
        for place, identity in enumerate(found.index.annotation_ids[found.people.person_rows].tolist()):
            if identity not in cases:
                continue
            case, checked = cases[identity], checked + 1
            box, corners = found.people.boxes_img[place], golden[f"{case}/label_bbox_xyxy"]
            assert np.allclose([*box[:2], *(box[:2] + box[2:])], corners, atol=1e-3)
            sample = found[0, place]
            assert (sample["visible"] == golden[f"{case}/vis"]).all()
            if f"{case}/crop_rgb_u8" in golden:
                assert np.abs(sample["image"].astype(int) - golden[f"{case}/crop_rgb_u8"]).max() <= 1
            pixels = normalise_batch(collate([sample])["image"])[0]
            mean_std = torch.stack([pixels.mean((1, 2)), pixels.std((1, 2), correction=0)])
            assert np.abs(mean_std.numpy() - golden[f"{case}/input_mean_std"]).max() < 1e-4
    assert checked == len(cases)
