# SPDX-License-Identifier: Apache-2.0
from pathlib import Path
from types import ModuleType

from common.cli import UserError, settings
from MIPNet import demo, eval, export, quantize
from MIPNet.config import DEFAULT_CFG, EXPERIMENTS, LAMBDA_CFG, MODEL_FOLDER, Config, parse
from MIPNet.model import STRIDE
from MIPNet.predict import load_config
from MIPNet.test.programs import run

import pytest
import torch

FILES = sorted(EXPERIMENTS.glob("*/*/*.yaml"))
LAMBDA = ("MODEL.NAME", "pose_hrnet_se_lambda")


def parsed(*words: str) -> Config:
    return parse(words)


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.relative_to(EXPERIMENTS).as_posix())
def test_published_files_hold_together(path: Path) -> None:
    config = parsed(f"--cfg={path}")
    config.check()
    config.load_skeleton()
    assert config.size_in == tuple(STRIDE * side for side in config.size_map)
    assert config.takes_lambda == ("lambda" in path.name)
    height, width = map(int, path.name.split("_")[1].split("x"))
    assert config.size_in == (height, width) and (width, height) == config.yaml.MODEL.IMAGE_SIZE


def test_a_published_command_line() -> None:
    config = parsed(
        *("--cfg", "experiments/coco/hrnet/w48_384x288_adam_lr1e-3.yaml", "--local_rank", "0", "--is_distributed", "0"),
        *("--perf", "1", "--check_point", "here.pth", "AUTO_RESUME", "True", "TRAIN.END_EPOCH", "5", *LAMBDA),
        *("MODEL.SE_MODULES", "[False, False, True, True]", "DATASET.DATASET", "coco_lambda", "GPUS", "(0,)"),
        *("TRAIN.LR_STEP", "(70, 100)", "TRAIN.LR", "1e-4", "MODEL.IMAGE_SIZE", "[192, 256]"),
        *("DATASET.TRAIN_IMAGE_DIR", "/data/train2017", "TEST.FLIP_TEST", "false"),
    )
    cfg = config.yaml
    assert (config.case, config.check_point, cfg.TRAIN.END_EPOCH, cfg.TRAIN.LR) == ("perf", "here.pth", 5, 1e-4)
    assert (config.takes_lambda, cfg.MODEL.SE_MODULES) == (True, (False, False, True, True))
    assert (cfg.TRAIN.LR_STEP, config.size_in, cfg.TEST.FLIP_TEST) == ((70, 100), (256, 192), False)
    assert cfg.DATASET.TRAIN_IMAGE_DIR == "/data/train2017"


def test_key_value_words_win_and_may_stand_anywhere(tmp_path: Path) -> None:
    config = parsed("--recipe=performance", "TRAIN.END_EPOCH", "3", "--data_path", "/data/coco", "WORKERS", "4")
    assert (config.yaml.TRAIN.END_EPOCH, config.case, config.data_path) == (3, "perf", "/data/coco")
    assert parsed("--perf", "0", "--workers=2").case == "acc"
    assert parsed("--perf", "TRAIN.LR", "1").case == "perf"
    assert parsed("--recipe=finetune", "--pth_path=a.pth").check_point == "a.pth"
    (tmp_path / "own.yaml").write_text("TRAIN: {LR: 1e-3, END_EPOCH: 2.0}\nDATASET: {TEST_SET: '2017'}")
    cfg = parsed(f"--cfg={tmp_path / 'own.yaml'}").yaml
    assert (cfg.TRAIN.LR, cfg.TRAIN.END_EPOCH, cfg.DATASET.TEST_SET) == (1e-3, 2, "2017")


def test_sizes_as_flags_have_the_height_first() -> None:
    config = parsed("--image_size=128,96", "--heatmap-size", "32,24", "--lr_steps=3")
    assert (config.size_in, config.yaml.MODEL.IMAGE_SIZE) == ((128, 96), (96, 128))
    assert (config.size_map, config.yaml.TRAIN.LR_STEP) == ((32, 24), (3,))


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["TRAIN.LEARNING", "1"], r"nothing reads TRAIN\.LEARNING"),
        (["TRAIN.LR"], r"TRAIN\.LR: a value is needed"),
        (["TRAIN.LR", "fast"], r"TRAIN\.LR is fast, expected: float"),
        (["--epochs=0"], r"TRAIN\.END_EPOCH is 0: at least 1"),
        (["MODEL.IMAGE_SIZE", "192"], "two numbers each"),
        (["MODEL.NAME", "pose_vit"], r"MODEL\.NAME is pose_vit, only pose_hrnet or .* is built"),
        (["--heatmap_size=96,96"], "no equal part"),
        (["--image_size=192,144"], "multiples of 32"),
        (LAMBDA, "DATASET.DATASET coco: a network with lambda trains on pairs"),
        (
            ["DATASET.DATASET", "crowdpose"],
            r"NUM_JOINTS is 17, the skeleton crowdpose of DATASET\.DATASET crowdpose has 14",
        ),
        (["--recipe=finetune"], "--pth_path is needed"),
        (["--cfg=absent.yaml"], r"--cfg=absent\.yaml: No such file"),
        (["--perf=2"], "--perf: '2' is neither true nor false"),
        (["--unknown=2"], "unknown"),
    ],
)
def test_what_is_wrong_is_named(words: list[str], message: str) -> None:
    with pytest.raises(UserError, match=message):
        config = parsed(*words)
        config.check()
        config.load_skeleton()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("- a", "no configuration: DATASET"),
        ("a: !!python/object/apply:os.getcwd []", "no YAML"),
        ("MODEL: {WIDTH: 3}", r"own.yaml: nothing reads MODEL\.WIDTH"),
        ("TRAIN: {LR: .nan}", r"own.yaml: TRAIN\.LR is nan: a finite number"),
        ("OUTPUT_DIR: ../other", r"own.yaml: OUTPUT_DIR is \.\./other, expected: a folder inside --output_dir"),
    ],
)
def test_a_file_that_is_no_configuration_is_one_line(tmp_path: Path, content: str, message: str) -> None:
    (tmp_path / "own.yaml").write_text(content)
    with pytest.raises(UserError, match=message) as caught:
        config = parsed(f"--cfg={tmp_path / 'own.yaml'}")
        config.check()
        assert config.folder
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("program", "words", "message"),
    [
        (demo, "", "--checkpoint_path is needed"),
        (demo, "--checkpoint_path=x --images=a.jpg --boxes=1,2,3,4 --detections=b.json", "give one of --boxes"),
        (demo, "--checkpoint_path=absent.pth --images=a.jpg", "absent.pth: no such checkpoint"),
        (eval, "--checkpoint_path=absent.pth", "absent.pth: no such checkpoint"),
        (eval, "--output_dir=absent", "--checkpoint_path is needed: .*_lr1e-3/model_best.pth is not there"),
        (eval, "TEST.FLIPTEST true", "nothing reads TEST.FLIPTEST"),
        (export, "", "--checkpoint_path is needed"),
        (export, "--checkpoint_path=x --opset=21", "--opset=21: choose 9 to 20"),
        (quantize, "--model=", "--model is needed: the .onnx that python -m MIPNet.export writes"),
    ],
)
def test_what_is_wrong_with_a_program_is_named(program: ModuleType, words: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        run(program, *words.split())


def test_checkpoints_go_where_published(tmp_path: Path) -> None:
    folder = tmp_path / "output/coco/pose_hrnet"
    assert parsed(f"--output_dir={tmp_path}").folder == folder / "w48_384x288_adam_lr1e-3"
    measured = parsed(f"--output_dir={tmp_path}", "--perf=1")
    assert measured.folder == folder / "w48_384x288_adam_lr1e-3_perf_1p"
    assert parsed().output_dir == str(MODEL_FOLDER)


def test_a_checkpoint_says_what_its_network_is(tmp_path: Path) -> None:
    known = settings(parsed("--recipe=smoke", "--lambda", "--image_size=64,32", "--heatmap_size=16,8"))
    source = tmp_path / "model_best.pth"
    torch.save({"state_dict": {}, "config": known}, source)
    config = load_config(source, "", ["TEST.FLIP_TEST", False])
    assert (config.cfg, config.takes_lambda, config.size_in) == (LAMBDA_CFG, True, (64, 32))
    extra = config.yaml.MODEL.EXTRA
    assert (extra.STEM_INPLANES, extra.STAGE2.NUM_BLOCKS[0], extra.STAGE3.NUM_CHANNELS) == (16, 1, (16, 32, 64))
    assert not config.yaml.TEST.FLIP_TEST
    crowd = load_config(source, "experiments/crowdpose/hrnet/w32_256x192_adam_lr1e-3_lambda.yaml")
    assert (crowd.data_set, crowd.size_in) == ("crowdpose", (64, 32))  # the data set is that of --cfg
    torch.save({"state_dict": {}, "config": {"MODEL.NAME": "pose_vit"}}, source)
    with pytest.raises(UserError, match=r"model_best.pth: MODEL\.NAME is pose_vit"):
        load_config(source, "")
    assert load_config(None, "").cfg == DEFAULT_CFG
