# SPDX-License-Identifier: Apache-2.0
import dataclasses
from pathlib import Path
from typing import Any

import common.skeleton
from common.cli import UserError
from common.test import top_down_networks as golden
from MIPNet import preparation, recipe_file
from MIPNet.config import EXPERIMENTS, MODEL_FOLDER, RECIPES, Config
from MIPNet.model import STRIDE

import pytest
import torch
import yaml

FILES = sorted(EXPERIMENTS.glob("*/*/*.yaml"))
NETWORKS = {  # golden network -> recipe file and overrides, as published
    "mipnet_pose_hrnet_w48_384x288": "coco/hrnet/w48_384x288_adam_lr1e-3.yaml",
    "mipnet_pose_hrnet_w32_256x192": "coco/hrnet/w32_256x192_adam_lr1e-3.yaml",
    "mipnet_pose_resnet50_256x192": "coco/resnet/res50_256x192_d256x3_adam_lr1e-3.yaml",
    "mipnet_pose_resnet152_384x288": "coco/resnet/res152_384x288_d256x3_adam_lr1e-3.yaml",
    "mipnet_pose_hrnet_se_lambda_w48_384x288": "coco/hrnet/w48_384x288_adam_lr1e-3_lambda.yaml",
    "mipnet_pose_hrnet_se_lambda_w48_384x288_crowdpose": "crowdpose/hrnet/w48_384x288_adam_lr1e-3_lambda.yaml",
    "mipnet_pose_resnet_se_lambda101_384x288_crowdpose": (
        "crowdpose/resnet/res101_384x288_d256x3_adam_lr1e-3_lambda.yaml"
    ),
}


def parsed(*words: str) -> Config:
    return recipe_file.parse(Config, RECIPES, words)


def network_of(config: Config) -> torch.nn.Module:
    with torch.device("meta"):
        return preparation.network(config, common.skeleton.load(config.skeleton_name).num_keypoints)


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.relative_to(EXPERIMENTS).as_posix())
def test_published_files_hold_together(path: Path) -> None:
    config = parsed(f"--cfg={path}")
    config.check()
    preparation.check_joints(config, common.skeleton.load(config.skeleton_name))
    assert config.stride == STRIDE
    assert config.takes_lambda == ("lambda" in path.name) == config.gives_pairs
    height, width = map(int, path.name.split("_")[1].split("x"))
    assert config.image_size == (height, width)


@pytest.mark.parametrize("name", NETWORKS)
def test_published_files_build_the_published_networks(shared: Path, name: str) -> None:
    assert golden.keys_of(network_of(parsed(f"--cfg=experiments/{NETWORKS[name]}"))) == golden.keys(shared, name)


def test_published_values() -> None:
    config = parsed()
    assert (config.lr, config.lr_factor, config.lr_steps, config.epochs) == (1e-3, 0.1, (170, 200), 210)
    assert (config.batch_size, config.image_size, config.heatmap_size, config.sigma) == (24, (384, 288), (96, 72), 3)
    assert (config.rotation, config.scale, config.half_body, config.half_body_above) == (45, 0.35, 0.3, 8)
    assert config.color_rgb and config.flip_test and config.shift_heatmap and config.given_boxes
    pairs = parsed("--lambda")
    assert (pairs.epochs, pairs.lr_steps, pairs.batch_size) == (110, (70, 100), 10)
    assert (pairs.se_modules, pairs.dataset) == ((False, False, True, True), "coco_lambda")
    resnet = parsed("--cfg", "experiments/coco/resnet/res50_256x192_d256x3_adam_lr1e-3.yaml")
    assert (resnet.color_rgb, resnet.rotation, resnet.scale, resnet.half_body) == (False, 40, 0.3, 0)
    assert (resnet.epochs, resnet.lr_steps, resnet.sigma) == (140, (90, 120), 2)


def test_every_table_entry_is_a_field_and_published_values_are_those_of_the_file() -> None:
    assert set(recipe_file.FIELDS.values()) <= {field.name for field in dataclasses.fields(Config)}
    assert not set(recipe_file.FIELDS) & (set(recipe_file.FIXED) | set(recipe_file.IDLE))
    content = yaml.safe_load((EXPERIMENTS / "coco/hrnet/w48_384x288_adam_lr1e-3.yaml").read_text())
    assert content["MODEL"]["IMAGE_SIZE"] == [288, 384]  # width first, as published; our fields have the height first


def test_key_value_words_as_published() -> None:
    config = parsed(
        "--cfg", "experiments/coco/hrnet/w48_384x288_adam_lr1e-3.yaml", "--local_rank", "0", "--is_distributed", "0",
        "--perf", "1", "--check_point", "here.pth", "AUTO_RESUME", "True", "TRAIN.END_EPOCH", "5",
        "MODEL.NAME", "pose_hrnet_se_lambda", "MODEL.SE_MODULES", "[False, False, True, True]",
        "DATASET.DATASET", "coco_lambda", "TRAIN.LR_STEP", "(70, 100)", "TRAIN.LR", "1e-4", "GPUS", "(0,)",
        "MODEL.IMAGE_SIZE", "[192, 256]", "DATASET.TRAIN_IMAGE_DIR", "/data/train2017", "TEST.FLIP_TEST", "false",
    )  # fmt: skip
    assert (config.case, config.check_point, config.epochs) == ("perf", "here.pth", 5)
    assert (config.model, config.se_modules) == ("pose_hrnet_se_lambda", (False, False, True, True))
    assert (config.lr_steps, config.lr, config.image_size) == ((70, 100), 1e-4, (256, 192))
    assert (config.train_images_folder, config.flip_test) == ("/data/train2017", False)


def test_key_value_words_win_and_may_stand_anywhere() -> None:
    config = parsed("--recipe=performance", "TRAIN.END_EPOCH", "3", "--data_path", "/data/coco", "WORKERS", "4")
    assert (config.epochs, config.case, config.data_path, config.num_workers) == (3, "perf", "/data/coco", 4)
    assert parsed("--lambda", "WORKERS", "4").num_workers == 4
    assert parsed("--perf", "0", "--workers=2").case == "acc"
    assert parsed("--perf", "TRAIN.LR", "1").case == "perf"
    assert parsed("--recipe=finetune", "--pth_path=a.pth").check_point == "a.pth"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["TRAIN.LEARNING", "1"], r"nothing reads TRAIN\.LEARNING"),
        (["TRAIN.LR"], r"TRAIN\.LR: a value is needed"),
        (["TRAIN.LR", "fast"], r"TRAIN\.LR is 'fast', wanted: float"),
        (["TRAIN.END_EPOCH", "2.5"], r"TRAIN\.END_EPOCH is 2\.5, wanted: int"),
        (["DATASET.FLIP", "3"], r"DATASET\.FLIP is 3, wanted: bool"),
        (["MODEL.IMAGE_SIZE", "192"], r"MODEL\.IMAGE_SIZE is 192, wanted: tuple"),
        (["MODEL.EXTRA.STAGE2.NUM_BLOCKS", "[4, 3]"], "the same number for each branch"),
        (["MODEL.TARGET_TYPE", "offset"], r"MODEL\.TARGET_TYPE is offset, only gaussian is built"),
        (["DATASET.DATASET", "ocpose"], r"DATASET\.DATASET is 'ocpose', wanted: Literal.*crowdpose"),
        (["--cfg=absent.yaml"], r"--cfg=absent\.yaml: No such file"),
        (["--perf=2"], "unrecognized arguments: --perf=2"),
        (["--unknown=2"], "unknown"),
    ],
)
def test_what_is_wrong_is_named(words: list[str], message: str) -> None:
    with pytest.raises(UserError, match=message):
        parsed(*words)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model": "pose_hrnet_se_lambda"}, "DATASET.DATASET coco: a network with lambda trains on pairs"),
        ({"dataset": "crowdpose_lambda"}, "MODEL.NAME pose_hrnet and DATASET.DATASET crowdpose_lambda"),
        ({"heatmap_size": (96, 96)}, "no equal part"),
        ({"image_size": (192, 144)}, "multiples of 32"),
        ({"check_point": "needed"}, "--pth_path is needed"),
        ({"stage3_channels": (32, 64, 128)}, "NUM_CHANNELS"),
        ({"epochs": 0}, "--epochs=0"),
    ],
)
def test_values_that_cannot_be_meant(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        Config(**changes).check()


def test_a_file_that_is_no_configuration(tmp_path: Path) -> None:
    for content, message in (("- a", "no configuration"), ("a: [", "no YAML"), ("MODEL: {WIDTH: 3}", r"MODEL\.WIDTH")):
        (tmp_path / "own.yaml").write_text(content)
        with pytest.raises(UserError, match=message):
            parsed(f"--cfg={tmp_path / 'own.yaml'}")


def test_other_joints_than_the_data_sets(tmp_path: Path) -> None:
    config = parsed("--cfg=experiments/crowdpose/hrnet/w32_256x192_adam_lr1e-3.yaml", "MODEL.NUM_JOINTS", "17")
    with pytest.raises(
        UserError, match=r"NUM_JOINTS is 17, the skeleton crowdpose of DATASET\.DATASET crowdpose has 14"
    ):
        preparation.check_joints(config, common.skeleton.load(config.skeleton_name))


def test_checkpoints_go_where_published(tmp_path: Path) -> None:
    config = parsed(f"--output_dir={tmp_path}")
    assert preparation.experiment_folder(config) == tmp_path / "output/coco/pose_hrnet/w48_384x288_adam_lr1e-3"
    assert parsed().output_dir == str(MODEL_FOLDER)


@pytest.mark.parametrize("folder", ["/elsewhere", "a/../../b", "~/runs"])
def test_a_file_cannot_lead_the_output_elsewhere(tmp_path: Path, folder: str) -> None:
    (tmp_path / "own.yaml").write_text(f"OUTPUT_DIR: {folder}")
    with pytest.raises(UserError, match=r"own.yaml: OUTPUT_DIR is '.*', wanted: a folder inside --output_dir"):
        parsed(f"--cfg={tmp_path / 'own.yaml'}")


def test_the_rank_is_accepted_as_it_is_printed(capsys) -> None:
    assert parsed("--locak_rank=0", "--local_rank", "0") == parsed()
    assert "--locak_rank has no effect" in capsys.readouterr().err
