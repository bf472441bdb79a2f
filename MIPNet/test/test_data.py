# SPDX-License-Identifier: Apache-2.0
import dataclasses
import json
from pathlib import Path
from typing import Any

import common.coco.reader
from common.cli import UserError
from common.skeleton import COCO, CROWDPOSE, Skeleton
from common.test import top_down_golden as golden
from common.topdown import crops
from common.topdown.crops import labelled_people
from common.topdown.targets import collate, encode
from MIPNet import data
from MIPNet.config import Config
from MIPNet.data import TrainSamples
from MIPNet.model import STRIDE

import numpy as np
import pytest
import torch

STILL = {"FLIP": False, "ROT_FACTOR": 0.0, "SCALE_FACTOR": 0.0, "PROB_HALF_BODY": 0.0}
TAGS = ("w48_384x288", "w32_256x192")


def config_of(tag: str, pairs: bool = False, **of_data_set: Any) -> Config:
    """Settings of a size; `of_data_set`: keys of DATASET, without half bodies if they say nothing of these."""
    sizes = {"MODEL.IMAGE_SIZE": golden.SIZES_IN[tag][::-1], "MODEL.HEATMAP_SIZE": golden.map_size(tag)[::-1]}
    keyed = {f"DATASET.{key}": value for key, value in ({"PROB_HALF_BODY": 0.0} | of_data_set).items()}
    name = "pose_hrnet_se_lambda" if pairs else "pose_hrnet"
    values = {"MODEL.NAME": name, "MODEL.SIGMA": golden.SIGMAS[tag]} | sizes | keyed
    return Config(opts=tuple(word for pair in values.items() for word in pair))


def samples_in(folder: Path, annotations: str, images: str, config: Config, skeleton: Skeleton = COCO) -> TrainSamples:
    """All people of a file of annotations."""
    place = ("DATASET.TRAIN_ANNOTATION_FILE", annotations, "DATASET.TRAIN_IMAGE_DIR", images)
    return TrainSamples(dataclasses.replace(config, data_path=str(folder), opts=(*config.opts, *place)), skeleton)


def of_split(folder: Path, split: str, config: Config) -> TrainSamples:
    """All people of `train` or `val` of a COCO folder."""
    return samples_in(folder, f"annotations/person_keypoints_{split}2017.json", f"{split}2017", config)


def sample_of(shared: Path, person: dict[str, Any], config: Config) -> tuple[TrainSamples, int]:
    """The samples that hold a golden person, and its place among them."""
    for split in ("train", "val"):
        samples = of_split(shared / "data" / "coco-mini", split, config)
        ids = samples.index.annotation_ids[samples.people.person_rows].tolist()
        if person["annotation_id"] in ids:
            return samples, ids.index(person["annotation_id"])
    raise AssertionError("the golden person is not in the data")


def targets(batch: dict[str, torch.Tensor], config: Config, which: Any = slice(None)) -> tuple[Any, Any]:
    """Maps and weights as the training draws them."""
    joints, visible = batch["joints"][which], batch["visible"][which]
    maps, weights = encode(joints, visible, config.size_map, STRIDE, config.yaml.MODEL.SIGMA)
    return maps.numpy(), weights.numpy()


def check_person(batch: dict[str, torch.Tensor], config: Config, person: dict[str, Any], prefix: str = "") -> None:
    """Joints, maps and weights of a batch of one, or of one of its two people, are those of the golden person."""
    which: Any = (slice(None), "AB".index(prefix[-2])) if prefix.startswith("lambda") else slice(None)
    seen = person[f"{prefix}vis"] > 0
    assert np.array_equal(batch["visible"][which][0].numpy() > 0, seen)
    assert np.abs(batch["joints"][which][0].numpy() - person[f"{prefix}joints"])[seen].max() < 1e-3
    maps, weights = targets(batch, config, which)
    assert np.array_equal(weights[0], person[f"{prefix}target_weight"][:, 0])
    wanted = person.get(f"{prefix}target", None if prefix == "aug_" else person["target"])
    assert wanted is None or np.abs(maps[0] - wanted).max() < 1e-6


@pytest.mark.parametrize("kind", ["plain", "pairs", "augmented"])
@pytest.mark.parametrize("tag", TAGS)
def test_samples_are_the_originals(shared: Path, tag: str, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    config = config_of(tag, kind == "pairs", **STILL)
    for person in golden.people(shared, tag):
        samples, place = sample_of(shared, person, config)
        if kind == "augmented":
            crop = golden.augmented_crop(person, golden.image(shared, person).shape[1])
            monkeypatch.setattr(crops.Augmentation, "vary", lambda *_, crop=crop: crop)
        batch = collate([samples[0, place]])
        for prefix in {"plain": ("",), "pairs": ("lambda_A_", "lambda_B_"), "augmented": ("aug_",)}[kind]:
            check_person(batch, config, person, prefix)
        images = data.normalise_batch(batch["image"])[0]
        found = torch.stack([images.mean(dim=(1, 2)), images.std(dim=(1, 2), unbiased=False)]).numpy()
        assert np.abs(found - person[f"{'aug_' * (kind == 'augmented')}input_mean_std"]).max() < 1e-3
        if kind != "augmented" and "crop_rgb_u8" in person:
            away = np.abs(batch["image"][0].permute(1, 2, 0).numpy().astype(int) - person["crop_rgb_u8"])
            assert away.max() <= 1


def index_of(tmp_path: Path, boxes: list[list[float]], **changes: Any) -> Any:
    """People of the given boxes on one image, every joint in the far corner of its box."""
    same = {"image_id": 1, "iscrowd": 0, "category_id": 1, "area": 400, **changes}
    people = [
        {"id": n, "bbox": box, "keypoints": [box[0] + box[2], box[1] + box[3], 2] * 17, **same}
        for n, box in enumerate(boxes, 1)
    ]
    image = {"id": 1, "file_name": "a.jpg", "height": 100, "width": 200}
    path = tmp_path / "people.json"
    path.write_text(json.dumps({"images": [image], "annotations": people, "categories": []}))
    return common.coco.reader.load(path, COCO.num_keypoints)


def test_nobody_to_train_on_is_named_with_the_file(tmp_path: Path) -> None:
    index_of(tmp_path, [[10, 10, 20, 30]], iscrowd=1)
    with pytest.raises(UserError, match=r"people\.json: no person with labelled joints"):
        samples_in(tmp_path, "people.json", ".", Config())


def test_the_nearest_neighbour(tmp_path: Path) -> None:
    boxes = [[1, 1, 20, 20], [61, 1, 20, 20], [31, 1, 20, 20], [151, 61, 20, 20]]
    found = labelled_people(index_of(tmp_path, boxes), lenient=True)
    assert data.neighbours(found).tolist() == [2, 2, 0, 1]  # person 2 is as near to 0 as to 1: the first
    alone = labelled_people(index_of(tmp_path, boxes[:1]), lenient=True)
    assert data.neighbours(alone).tolist() == [0]


def test_little_of_the_other_one_in_the_box() -> None:
    joints, visible = np.tile([[[50.0, 20.0]], [[150.0, 20.0]]], (1, 17, 1)), np.ones((2, 17))
    joints[1, :4] = [[100, 40], [0, 0], [3, 4], [5, 6]]  # corners belong to the crop
    pair, seen = data.pair_in_box(joints, visible, (40, 100))
    assert seen.sum(axis=1).tolist() == [17, 4] and np.array_equal(pair, joints)
    joints[1, 0] = [100.01, 40]
    (again, twice), seen = data.pair_in_box(joints, visible, (40, 100))
    assert np.array_equal(again, twice) and seen.sum(axis=1).tolist() == [17, 17]


def test_a_mirrored_pair_stays_on_its_people(tiny_coco: Path) -> None:
    """Both people of a box are mirrored and moved by the same crop: the joints of one who is alone are equal twice."""
    config = config_of("w32_256x192", pairs=True)
    samples = of_split(tiny_coco, "train", config)
    batch = collate([samples[epoch, place] for place in range(len(samples)) for epoch in range(2)])
    assert batch["joints"].shape == (2 * len(samples), 2, COCO.num_keypoints, 2)
    alone = np.repeat(samples.others == np.arange(len(samples)), 2)
    assert alone.any() and not alone.all()
    assert torch.equal(batch["joints"][alone, 0], batch["joints"][alone, 1])
    assert not torch.equal(batch["joints"][:, 0], batch["joints"][:, 1])
    inside = (batch["joints"] >= 0) & (batch["joints"] <= torch.tensor([192, 256]))
    assert inside[batch["visible"] > 0].all()


def test_a_sample_depends_on_seed_epoch_and_index_alone(tiny_coco: Path) -> None:
    config = config_of("w32_256x192")
    samples, plain = (of_split(tiny_coco, "train", config) for _ in range(2))
    for place in (3, 0, 3):
        one, other = samples[1, place], plain[1, place]
        assert all(np.array_equal(one[name], other[name]) for name in one)
    assert not np.array_equal(samples[0, 3]["image"], samples[1, 3]["image"])
    reseeded = of_split(tiny_coco, "train", dataclasses.replace(config, seed=1))
    assert not np.array_equal(samples[0, 3]["image"], reseeded[0, 3]["image"])
    bgr = of_split(tiny_coco, "train", config_of("w32_256x192", COLOR_RGB=False))
    assert np.array_equal(samples[0, 3]["image"], bgr[0, 3]["image"][..., ::-1])


@pytest.mark.parametrize(("name", "skeleton", "count"), [("crowdpose", CROWDPOSE, 4), ("ochuman", COCO, 5)])
def test_samples_of_the_crowded_data_sets(shared: Path, name: str, skeleton: Skeleton, count: int) -> None:
    for pairs in (False, True):
        config = config_of("w32_256x192", pairs, DATASET=name, **STILL)
        samples = samples_in(shared / "data" / name, f"test_{name}.json", ".", config, skeleton)
        assert len(samples) == count  # of CrowdPose's five, one has no joints
        batch = collate([samples[0, place] for place in range(count)])
        assert batch["joints"].shape[-2:] == (skeleton.num_keypoints, 2)
        assert batch["joints"].dtype == torch.float64 and batch["image"].shape == (count, 3, 256, 192)
        maps, _ = targets(batch, config, (slice(None), 1) if pairs else slice(None))
        assert maps.max() == 1
    others = data.neighbours(samples.people)
    assert (others != np.arange(count)).sum() == 4
