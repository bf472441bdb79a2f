# SPDX-License-Identifier: Apache-2.0
from pathlib import Path

from AlphaPose import preparation, recipe_file
from AlphaPose.config import ALIASES, RECIPES, RETIRED, Config
from common.cli import UserError, parse

import pytest
import yaml

FILES = sorted((Path(__file__).parents[1] / "configs").rglob("*.yaml"))


def parsed(*words: str) -> Config:
    return parse(Config, RECIPES, list(words), ALIASES, RETIRED, read_cfg=recipe_file.read)


def test_published_recipe_is_the_default() -> None:
    config = parsed("--data_path=/data/coco")
    assert (config.model, config.num_layers, config.image_size, config.heatmap_size) == (
        "FastPose", 50, (256, 192), (64, 48),
    )  # fmt: skip
    assert (config.batch_size, config.epochs, config.lr, config.lr_steps) == (32, 200, 1e-3, (90, 120))
    assert (config.rotation, config.scale, config.half_body, config.dpg_milestone) == (40, 0.3, -1, 140)
    assert config.root == "/data/coco" and parsed().root == "./data/coco/"


def test_file_recipe_flags_win_in_this_order() -> None:
    longer = str(FILES[0].parents[1] / "resnet" / "256x192_res50_lr1e-3_2x.yaml")
    assert parsed(f"--cfg={longer}").epochs == 270
    assert parsed(f"--cfg={longer}", "--recipe=performance").epochs == 2
    assert parsed(f"--cfg={longer}", "--recipe=performance", "--epochs=5").epochs == 5


def test_published_flags_are_taken(capsys: pytest.CaptureFixture[str]) -> None:
    config = parsed("--exp-id", "mine", "--opt-level", "O1", "--nThreads=3", "--dist-backend=hccl", "--snapshot=5")
    assert (config.exp_id, config.amp, config.num_workers, config.snapshot) == ("mine", "O1", 3, 5)
    assert "--dist_backend has no effect" in capsys.readouterr().err


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_every_recipe_file_names_a_network(path: Path) -> None:
    config = parsed(f"--cfg={path}")
    config.check()
    if "dcn" in path.stem:
        with pytest.raises(UserError, match="torchvision"):
            preparation.network(config, 17)
    elif config.num_layers <= 50:
        assert sum(weight.numel() for weight in preparation.network(config, 17).parameters()) > 2e7


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"MODEL": {"NUM_LAYER": 50}}, "nothing reads MODEL.NUM_LAYER"),
        ({"DATASET": {"TRAIN": {"TYPE": "Mpii"}}}, "DATASET.TRAIN.TYPE is Mpii, only Mscoco is built"),
        ({"EXTRA": 1}, "nothing reads EXTRA"),
    ],
)
def test_a_key_that_nothing_reads_is_named(tmp_path: Path, change: dict, complaint: str) -> None:
    (tmp_path / "own.yaml").write_text(yaml.safe_dump(change))
    with pytest.raises(UserError, match=complaint):
        parsed(f"--cfg={tmp_path / 'own.yaml'}")


@pytest.mark.parametrize(
    ("content", "complaint"),
    [(None, "No such file"), ("a: [", "no YAML"), ("words", "no configuration"), ("\x00", "no YAML")],
)
def test_files_that_are_no_recipe(tmp_path: Path, content: str | None, complaint: str) -> None:
    if content is not None:
        (tmp_path / "own.yaml").write_text(content)
    with pytest.raises(UserError, match=complaint):
        parsed(f"--cfg={tmp_path / 'own.yaml'}")


@pytest.mark.parametrize(
    ("flag", "complaint"),
    [
        ("--image_size=256", "height,width"),
        ("--heatmap_size=64,40", "no equal part"),
        ("--image_size=192,144", "--image_size=192,144: both sides must be multiples of 32"),
        ("--epochs=0", "--epochs=0"),
        ("--batch_size=0", "--batch_size=0"),
    ],
)
def test_values_that_cannot_be_meant(flag: str, complaint: str) -> None:
    with pytest.raises(UserError, match=complaint):
        parsed(flag).check()


def test_a_number_that_yaml_takes_for_a_text_is_a_number(tmp_path: Path) -> None:
    (tmp_path / "own.yaml").write_text("TRAIN: {LR: 1e-3, END_EPOCH: 2.0}")
    config = parsed(f"--cfg={tmp_path / 'own.yaml'}")
    assert (config.lr, config.epochs, type(config.epochs)) == (1e-3, 2, int)


@pytest.mark.parametrize(
    ("entry", "complaint"),
    [
        ("END_EPOCH: 2.5", "own.yaml: TRAIN.END_EPOCH is 2.5, wanted: int"),
        ("END_EPOCH: -1", "own.yaml: TRAIN.END_EPOCH is -1: at least 1"),
        ("LR: .nan", "own.yaml: TRAIN.LR is nan: a finite number"),
        ("LR: fast", "own.yaml: TRAIN.LR is 'fast', wanted: float"),
        ("LR_STEP: 90", "own.yaml: TRAIN.LR_STEP is 90, wanted: tuple"),
        ("OPTIMIZER: sgd", "own.yaml: TRAIN.OPTIMIZER is 'sgd', wanted: Literal"),
        ("LR: &a [*a]", "references"),
    ],
)
def test_a_value_of_another_kind_is_one_line(tmp_path: Path, entry: str, complaint: str) -> None:
    (tmp_path / "own.yaml").write_text(f"TRAIN: {{{entry}}}")
    with pytest.raises(UserError, match=complaint):
        parsed(f"--cfg={tmp_path / 'own.yaml'}")
