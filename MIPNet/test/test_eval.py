# SPDX-License-Identifier: Apache-2.0
import json
import sys
from pathlib import Path

from common.cli import UserError
from common.coco import evaluate
from common.skeleton import COCO, CROWDPOSE, Skeleton
from common.train.log import Log
from MIPNet import eval as program
from MIPNet import preparation, recipe_file, weights
from MIPNet.config import RECIPES, Config
from MIPNet.evaluation import while_training
from MIPNet.model import PoseResNet
from MIPNet.test.oracle import load

import pytest
import torch


@pytest.mark.parametrize(("name", "skeleton"), [("crowdpose", CROWDPOSE), ("ochuman", COCO)])
def test_the_program_on_the_samples(
    name: str, skeleton: Skeleton, shared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    folder, cfg = shared / "data" / name, f"experiments/{name}/hrnet/w32_256x192_adam_lr1e-3_lambda.yaml"
    _, checkpoint = small("", tmp_path, folder, f"--cfg={cfg}", skeleton=skeleton)
    run_program(monkeypatch, f"--data_path={folder}", f"--checkpoint_path={checkpoint}", f"--output_dir={tmp_path}",
                "DATASET.TEST_ANNOTATION_FILE", f"test_{name}.json", "DATASET.TEST_IMAGE_DIR", ".")  # fmt: skip
    said = capsys.readouterr().out
    assert f"data_set {name}" in said and "| l0,1:pose_hrnet_se_lambda |" in said
    assert ("AP (easy)" in said) == (name == "crowdpose")


def small(
    model: str, tmp_path: Path, tiny_coco: Path, *words: str, skeleton: Skeleton = COCO
) -> tuple[Config, Path]:  # fmt: skip
    """The recipe of a small network, and a checkpoint of it that knows it."""
    flags = ["--recipe=smoke", "--image_size=64,64", "--heatmap_size=16,16", f"--data_path={tiny_coco}",
             "--device=cpu", f"--output_dir={tmp_path}", "--num_workers=0", *words]  # fmt: skip
    config = recipe_file.parse(Config, RECIPES, [*flags, *(["--lambda"] if model else [])])
    torch.manual_seed(0)
    network = preparation.network(config, skeleton.num_keypoints)
    weights.initialise(network)
    path = tmp_path / "small.pth"
    torch.save({"state_dict": network.state_dict(), "config": {**vars(config)}}, path)
    return config, path


def run_program(monkeypatch: pytest.MonkeyPatch, *words: str) -> None:
    monkeypatch.setattr(sys, "argv", ["eval", *words])
    program.main()


@pytest.mark.parametrize("model", ["", "lambda"], ids=["plain", "lambda"])
def test_the_program_leaves_people_numbers_and_its_protocol(
    model: str, tiny_coco: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    config, checkpoint = small(model, tmp_path, tiny_coco)
    place = (f"--data_path={tiny_coco}", f"--output_dir={tmp_path}", "--device=cpu")
    run_program(monkeypatch, *place, f"--checkpoint_path={checkpoint}", "--save_images=1", "TEST.FLIP_TEST", "false")
    said = capsys.readouterr().out
    assert "protocol: boxes given, data_set coco" in said and "| Arch | AP |" in said
    assert f"{config.model} | " in said and "input_size (64, 64)" in said  # the checkpoint's, not the file's
    folder = tmp_path / "output" / config.dataset / config.model / Path(config.cfg).stem / "eval"
    names = {"detections.json", "metrics.jsonl", "pictures.png"}
    names |= {"detections_l0.json", "detections_l1.json"} if model else set()
    assert {path.name for path in folder.iterdir()} == names
    (record,) = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    assert record["protocol"]["flip_test"] is False and record["protocol"]["boxes"] == "given"
    assert set(record["by_lambda"]) == ({"l0", "l1"} if model else set())
    first = json.loads((folder / "detections.json").read_text())[0]
    assert {"image_id", "keypoints", "score", "center", "scale", "annotation_id", "box_score"} < set(first)
    assert (tmp_path / "test/output/0/run.json").is_file()


def test_boxes_of_a_detector_stand_in_the_protocol(
    tiny_coco: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    _, checkpoint = small("", tmp_path, tiny_coco)
    image = int(load(tiny_coco).index.image_ids[0])
    detections = tmp_path / "found boxes.json"
    detections.write_text(json.dumps([{"image_id": image, "category_id": 1, "bbox": [5, 5, 60, 90], "score": 0.7}]))
    place = (f"--data_path={tiny_coco}", f"--output_dir={tmp_path}", f"--checkpoint_path={checkpoint}")
    run_program(monkeypatch, *place, f"--detections={detections}", "--flip_test=false", "--refinement=dark")
    assert f"protocol: boxes {detections}" in capsys.readouterr().out
    with pytest.raises(UserError, match="--detections names another place"):
        run_program(monkeypatch, *place, "--detections=absent.json")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--lambdas=0,2",), "--lambdas=0.0,2.0: different numbers from 0 to 1"),
        (("--lambdas=1,1",), "different numbers"),
        (("--batch_size=-1",), "--batch_size=-1: at least 0"),
        (("--checkpoint_path=absent.pth",), "absent.pth: no such checkpoint"),
        ((), "--checkpoint_path is needed: .*model_best.pth is not there"),
        (("TEST.FLIPTEST", "true"), "nothing reads TEST.FLIPTEST"),
        (("MODEL.NUM_JOINTS", "14"), "--checkpoint_path is needed"),
        (("--colour=red",), "--colour=red"),
    ],
)
def test_bad_flags(words: tuple[str, ...], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UserError, match=message):
        run_program(monkeypatch, "--data_path=mini", f"--output_dir={tmp_path}", "--device=cpu", *words)


def test_a_plain_checkpoint_in_a_network_with_lambda_is_said(
    tiny_coco: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    network = PoseResNet(17, 18)
    torch.save(network.state_dict(), tmp_path / "resnet18.pth")
    words = ("--cfg", "experiments/coco/resnet/res50_256x192_d256x3_adam_lr1e-3_lambda.yaml", "--flip_test=false",
             f"--data_path={tiny_coco}", f"--output_dir={tmp_path}", "--device=cpu", "--val_images=1",
             f"--checkpoint_path={tmp_path / 'resnet18.pth'}", "MODEL.EXTRA.NUM_LAYERS", "18",
             "MODEL.IMAGE_SIZE", "[32,64]", "MODEL.HEATMAP_SIZE", "[8,16]")  # fmt: skip
    run_program(monkeypatch, *words)
    assert "the file's network lacks layer" in capsys.readouterr().out


@pytest.mark.parametrize("model", ["", "lambda"], ids=["plain", "lambda"])
def test_evaluation_while_training(model: str, tiny_coco: Path, tmp_path: Path) -> None:
    config, _ = small(model, tmp_path, tiny_coco)
    config = preparation.find_data(config)
    network = preparation.network(config, COCO.num_keypoints)
    with Log(tmp_path / "metrics.jsonl", tmp_path) as log:
        called = while_training(config, COCO, torch.device("cpu"), None, log, tmp_path)
        assert called is not None
        before = {name: value.clone() for name, value in network.state_dict().items()}
        metrics = called(network)
    assert tuple(metrics) == evaluate.COCO_METRICS
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
    assert (tmp_path / "pictures/predictions.png").is_file()


def test_no_evaluation_where_none_is_asked_for(tiny_coco: Path, tmp_path: Path) -> None:
    config, _ = small("", tmp_path, tiny_coco, "--eval_freq=0")
    with Log(tmp_path / "metrics.jsonl", tmp_path) as log:
        assert while_training(config, COCO, torch.device("cpu"), None, log, tmp_path) is None
