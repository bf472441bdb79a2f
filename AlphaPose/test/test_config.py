# SPDX-License-Identifier: Apache-2.0
import importlib.util
from pathlib import Path

from AlphaPose.config import Config, parse
from AlphaPose.data import path_of_key
from AlphaPose.model import build
from AlphaPose.predict import load_config
from common.cli import UserError, settings

import pytest
import torch
import yaml

FILES = sorted((Path(__file__).parents[1] / "configs").rglob("*.yaml"))


def parsed(*words: str) -> Config:
    return parse(words)


def test_published_recipe_is_the_default() -> None:
    cfg = parsed().yaml
    assert (cfg.MODEL.TYPE, cfg.MODEL.NUM_LAYERS) == ("FastPose", 50)
    assert (cfg.DATA_PRESET.IMAGE_SIZE, cfg.DATA_PRESET.HEATMAP_SIZE) == ((256, 192), (64, 48))
    assert (cfg.TRAIN.BATCH_SIZE, cfg.TRAIN.END_EPOCH, cfg.TRAIN.LR, cfg.TRAIN.LR_STEP) == (32, 200, 1e-3, (90, 120))
    aug = cfg.DATASET.TRAIN.AUG
    assert (aug.ROT_FACTOR, aug.SCALE_FACTOR, aug.PROB_HALF_BODY, cfg.TRAIN.DPG_MILESTONE) == (40, 0.3, -1, 140)
    assert cfg.DATASET.TRAIN.ROOT == "./data/coco/"


def test_file_recipe_flags_win_in_this_order() -> None:
    longer = str(FILES[0].parents[1] / "resnet" / "256x192_res50_lr1e-3_2x.yaml")
    for words, epochs in ((), 270), (("--recipe=performance",), 2), (("--recipe=performance", "--epochs=5"), 5):
        assert epochs == parsed(f"--cfg={longer}", *words).yaml.TRAIN.END_EPOCH
    cfg = parsed(
        "--lr=0.1", "--image_size", "128,96", "--exp_id", "mine", "TRAIN.LR_STEP", "[3]", "TRAIN.LR", "1e-4"
    ).yaml
    assert (cfg.TRAIN.LR, cfg.TRAIN.LR_STEP, cfg.DATA_PRESET.IMAGE_SIZE) == (1e-4, (3,), (128, 96))


def test_published_flags_are_taken(capsys: pytest.CaptureFixture[str]) -> None:
    config = parsed("--exp-id", "mine", "--opt-level", "O1", "--nThreads=3", "--dist-backend=hccl", "--snapshot=5")
    assert (config.exp_id, config.amp, config.num_workers, config.snapshot) == ("mine", "O1", 3, 5)
    assert "--dist_backend has no effect" in capsys.readouterr().err


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_every_published_file_names_a_network(path: Path) -> None:
    config = parsed(f"--cfg={path}")
    config.check()
    if any(config.yaml.MODEL.STAGE_WITH_DCN) and not importlib.util.find_spec("torchvision"):
        with pytest.raises(UserError, match="torchvision"):
            build(config.yaml.MODEL, 17)
    elif config.yaml.MODEL.NUM_LAYERS <= 50:
        assert sum(weight.numel() for weight in build(config.yaml.MODEL, 17).parameters()) > 2e7


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        ("MODEL: {NUM_LAYER: 50}", "nothing reads MODEL.NUM_LAYER"),
        ("DATASET: {TRAIN: {TYPE: Mpii}}", "DATASET.TRAIN.TYPE is Mpii, only Mscoco is built"),
        ("EXTRA: 1", "nothing reads EXTRA"),
        ("TRAIN: {END_EPOCH: -1}", "own.yaml: TRAIN.END_EPOCH is -1: at least 1"),
        ("TRAIN: {LR_STEP: [a]}", "own.yaml: TRAIN.LR_STEP is .*, expected: list"),
        ("TRAIN: {OPTIMIZER: sgd}", "own.yaml: TRAIN.OPTIMIZER is sgd, only adam or rmsprop is built"),
    ],
)
def test_a_file_that_is_no_configuration_is_one_line(tmp_path: Path, content: str, complaint: str) -> None:
    (tmp_path / "own.yaml").write_text(content)
    with pytest.raises(UserError, match=complaint):
        parsed(f"--cfg={tmp_path / 'own.yaml'}").check()


@pytest.mark.parametrize(
    ("flag", "complaint"),
    [
        ("--image_size=256,", "two numbers each"),
        ("--heatmap_size=64,40", "no equal part"),
        ("--image_size=192,144", "IMAGE_SIZE 192 x 144 .* both sides must be multiples of 32"),
        ("--epochs=0", "TRAIN.END_EPOCH is 0: at least 1"),
    ],
)
def test_values_that_cannot_be_meant(flag: str, complaint: str) -> None:
    with pytest.raises(UserError, match=complaint):
        parsed(flag).check()


def test_the_yaml_that_is_printed_in_the_instructions_is_accepted(tmp_path: Path) -> None:
    demo = {"TYPE": "Mscoco_det", "ROOT": "./data/", "IMG_PREFIX": "val2017", "ANN": "a.json"}
    (tmp_path / "own.yaml").write_text(yaml.safe_dump({"DATASET": {"DEMO": demo}, "DETECTOR": {"NAME": "yolo"}}))
    assert "DEMO" not in parsed(f"--cfg={tmp_path / 'own.yaml'}").yaml.DATASET


def test_each_part_of_the_data_has_its_root(tiny_coco: Path, tmp_path: Path) -> None:
    (tmp_path / "VAL" / "val2017").mkdir(parents=True)
    words = ("DATASET.TRAIN.ROOT", str(tmp_path), "DATASET.VAL.ROOT", str(tmp_path / "VAL"))
    assert path_of_key(parsed(*words), "VAL", "IMG_PREFIX") == tmp_path / "VAL" / "val2017"
    assert path_of_key(parsed(*words, f"--data_path={tiny_coco}"), "VAL", "IMG_PREFIX").parent == tiny_coco
    with pytest.raises(UserError, match="train2017: .*DATASET.TRAIN.IMG_PREFIX a place in it"):
        path_of_key(parsed(*words), "TRAIN", "IMG_PREFIX")


def test_a_checkpoint_says_what_its_network_is(tmp_path: Path) -> None:
    config = settings(parsed("--model=SimplePose", "--num_layers=18", "--image_size=64,32", "--heatmap_size=16,8"))
    torch.save({"state_dict": {}, "config": config}, tmp_path / "model_best.pth")
    cfg = load_config(str(FILES[0]), tmp_path / "model_best.pth", ["LOSS.NORM_TYPE", "softmax"]).yaml
    assert (cfg.MODEL.TYPE, cfg.MODEL.NUM_LAYERS, cfg.DATA_PRESET.IMAGE_SIZE) == ("SimplePose", 18, (64, 32))
    assert cfg.LOSS.NORM_TYPE == "softmax"
