# SPDX-License-Identifier: Apache-2.0
"""Evaluation on annotated images, and eval.py as a user types it, on a narrow network."""

import ast
import json
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace

import common.coco.reader
from common.bottomup.pipeline import evaluate
from common.cli import UserError
from common.coco.evaluate import COCO_METRICS, EvaluationSet
from common.runtime.session import Session
from common.skeleton import OPENPOSE
from common.train.log import Log
from OpenPose_MindSpore_port import eval as program
from OpenPose_MindSpore_port import export, mindspore_checkpoint
from OpenPose_MindSpore_port.config import NETWORK, Config, DataFlags, Inference
from OpenPose_MindSpore_port.eval import PUBLISHED_NAMES, evaluation_set, with_people
from OpenPose_MindSpore_port.model import STRIDE
from OpenPose_MindSpore_port.predict import PoseEstimator
from OpenPose_MindSpore_port.test import golden
from OpenPose_MindSpore_port.test import narrow as narrow_networks
from OpenPose_MindSpore_port.test.narrow import narrow  # noqa: F401  a fixture

import numpy as np
import pytest
import torch

ANNOTATIONS = "person_keypoints_val2017.json"
SMALL = ("--device=cpu", "--inference_img_size=32")
LENIENT = [
    "--inference_img_size=64",
    "--n_integ_points_thresh=3",
    "--n_subset_limbs_thresh=2",
    "--subset_score_thresh=0",
]


def blind(inputs: Sequence[np.ndarray]) -> list[np.ndarray]:
    batch, _, height, width = inputs[0].shape
    counts = (OPENPOSE.num_pafs, OPENPOSE.num_heatmaps)
    return [np.zeros((batch, count, height // STRIDE, width // STRIDE), np.float32) for count in counts]


def in_memory(forward, side: int = 64, original: bool = False) -> PoseEstimator:
    session = Session("blind", "memory", forward)
    return PoseEstimator.of_session(session, settings=Inference(inference_img_size=side), original=original)


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """As MindSpore's training leaves it: `network.` before the names, moments beside."""
    path = tmp_path_factory.mktemp("weights") / "0-6_30000.ckpt"
    weights = narrow_networks.network().state_dict()
    entries = {f"{prefix}network.{name}": tensor for prefix in ("", "moment1.") for name, tensor in weights.items()}
    mindspore_checkpoint.write(path, {**entries, "global_step": torch.tensor([30000])})
    return path


def run_program(monkeypatch: pytest.MonkeyPatch, folder: Path, *flags: str) -> None:
    """With results in `folder`, unless a flag says otherwise."""
    places = (f"--output_path={folder}", f"--log_dir={folder / 'logs'}")
    monkeypatch.setattr(sys, "argv", ["eval.py", *SMALL, *places, *flags])
    program.main()


def result_of(out: str) -> dict[str, float]:
    (line,) = [line for line in out.splitlines() if line.startswith("result:  ")]
    return ast.literal_eval(line.removeprefix("result:  "))


# --- evaluation ---


def test_golden_average_precision(shared: Path) -> None:
    """The maps of the original's run through our whole evaluation: its people and its ten numbers."""
    folder, known = golden.folder(shared), {}
    index = common.coco.reader.load(folder / "annotations.json", OPENPOSE.num_keypoints)
    images = shared / "data" / "coco-mini" / "train2017"
    validation = EvaluationSet(folder / "annotations.json", images, index, np.arange(index.num_images))

    def recorded(inputs: Sequence[np.ndarray]) -> list[np.ndarray]:
        found = [known[image.tobytes()] for image in inputs[0]]
        return [np.stack([maps[kind] for maps in found]) for kind in ("pafs", "heatmaps")]

    estimator = in_memory(recorded, 368, original=True)
    for number in range(index.num_images):
        case = golden.case(shared, "decode.npz", f"real{number}")
        image = validation.read(int(np.flatnonzero(index.image_ids == case["image_id"])[0]))
        (place,) = estimator.letterboxes(image.shape[:2])
        known[estimator.to_input(image, place).tobytes()] = case
    result = evaluate(estimator, validation, batch_size=2)
    expected = json.loads((folder / "ap.json").read_text())
    assert list(expected) == list(PUBLISHED_NAMES)
    found = [result.metrics[name] for name in COCO_METRICS]
    assert found == pytest.approx(list(expected.values()), abs=0.002)
    theirs = json.loads((folder / "detections.json").read_text())

    def key(person: dict) -> tuple:
        return person["image_id"], round(person["score"], 3)

    for mine, person in zip(sorted(result.detections.to_json(), key=key), sorted(theirs, key=key), strict=True):
        assert key(mine) == pytest.approx(key(person), abs=2e-3) and mine["keypoints"] == person["keypoints"]


def test_an_evaluation_during_training_that_finds_nobody(tiny_coco: Path, tmp_path: Path) -> None:
    """An AP of 0, the published lines, a picture; and nothing changes in the weights."""
    model = narrow_networks.network()
    for tensor in model.parameters():
        torch.nn.init.zeros_(tensor)
    validation = evaluation_set(DataFlags(data_dir=str(tiny_coco), val_images=3), OPENPOSE)
    store = SimpleNamespace(folder=tmp_path)
    state = SimpleNamespace(device=torch.device("cpu"), dtype=None, store=store, skip_bad=True)
    with Log(tmp_path / "metrics.jsonl", tmp_path) as log:
        config = Config(inference_img_size=32)
        metrics = program.while_training(validation, config, OPENPOSE, state, log)(model)
    assert set(metrics) == set(COCO_METRICS) and metrics["AP"] == 0
    lines = (tmp_path / "train_0.log").read_text().splitlines()
    assert lines[0] == "Predict poses size is zero." and lines[1].startswith("result:  {'AP': 0.0, 'Ap .5': 0.0,")
    assert (tmp_path / "pictures" / "predictions.png").is_file()
    assert not any(tensor.any() for tensor in model.parameters())


def test_images_without_people_count_unless_asked(tiny_coco: Path) -> None:
    """The original takes images with people alone."""
    everything = evaluation_set(DataFlags(data_dir=str(tiny_coco)), OPENPOSE)
    chosen = with_people(everything)
    annotations = json.loads((tiny_coco / "annotations" / ANNOTATIONS).read_text())["annotations"]
    populated = {person["image_id"] for person in annotations}
    assert set(everything.index.image_ids[chosen.rows]) == populated and len(everything.rows) > len(populated)


def test_where_images_and_annotations_may_be(tiny_coco: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Inside data_dir, as published; or paths of their own."""
    inside = evaluation_set(DataFlags(data_dir=str(tiny_coco)), OPENPOSE)
    folder, file = str(tiny_coco / "val2017"), str(tiny_coco / "annotations" / ANNOTATIONS)
    own = evaluation_set(DataFlags(data_dir="nowhere", imgpath_val=folder, ann=file, val_images=2), OPENPOSE)
    assert inside.folder == own.folder and inside.annotations == own.annotations
    assert (len(inside.rows), len(own.rows)) == (6, 2)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=r"annotations/x.json: no such file or folder.*--ann names"):
        evaluation_set(DataFlags(data_dir=str(tiny_coco), ann="x.json"), OPENPOSE)


# --- the program ---


def test_the_published_command(monkeypatch, capsys, tiny_coco: Path, tmp_path: Path, checkpoint: Path) -> None:
    words = "--imgpath_val val2017 --ann person_keypoints_val2017.json --is_distributed 0 --rank 0 --group_size 1"
    run_program(monkeypatch, tmp_path, f"--data_dir={tiny_coco}", "--model_path", str(checkpoint), *words.split())
    output = capsys.readouterr()
    metrics = result_of(output.out)
    assert list(metrics) == list(PUBLISHED_NAMES) and 0 <= metrics["AP"] < 0.5
    assert f"images 6, of all images, checkpoint {checkpoint}, runtime PyTorch" in output.out
    assert "input short side 32" in output.out and "decode improved" in output.out
    people = json.loads((tmp_path / "eval_result.json").read_text())
    assert all(set(person) == {"image_id", "category_id", "keypoints", "score"} for person in people)
    record = json.loads((tmp_path / "metrics.jsonl").read_text().splitlines()[-1])
    assert list(record["metrics"]) == list(COCO_METRICS) and record["metrics"]["AP"] == metrics["AP"]
    assert json.loads((tmp_path / "logs" / "run.json").read_text())["network"] == NETWORK
    assert not list(tmp_path.glob("*.png"))


def test_the_protocol_of_the_original_draws_and_skips(monkeypatch, capsys, tiny_coco: Path, tmp_path: Path) -> None:
    """Images with people only, its decoder, a picture of every image: the best checkpoint of training."""
    best = tmp_path / "train_checkpoints" / "model_best.pth"
    best.parent.mkdir()
    narrow_networks.save(narrow_networks.network(), best)
    content = json.loads((tiny_coco / "annotations" / ANNOTATIONS).read_text())
    populated = {person["image_id"] for person in content["annotations"]}
    flags = (f"--data_path={tiny_coco}", f"--output_dir={tmp_path}", "--output_path=", "--original", "--save_images=-1")
    run_program(monkeypatch, tmp_path, *flags, "--report")
    assert (tmp_path / "output_img" / "report.html").is_file()
    text = capsys.readouterr().out
    assert f"images {len(populated)}, of images with people, checkpoint {best}" in text
    assert "decode original" in text
    drawn = {int(path.stem) for path in (tmp_path / "output_img").glob("*.png")}
    assert drawn == populated and len(populated) < len(content["images"])
    for person in json.loads((tmp_path / "output_img" / "eval_result.json").read_text()):
        assert all(float(number).is_integer() for number in person["keypoints"])


def test_an_exported_network_has_the_same_result(monkeypatch, capsys, tiny_coco, tmp_path, checkpoint) -> None:
    pytest.importorskip("onnx")
    export.export_onnx(narrow_networks.network(), tmp_path / "openpose.onnx", 11)
    people = []
    for source in (checkpoint, tmp_path / "openpose.onnx"):
        run_program(monkeypatch, tmp_path / "x", f"--data_path={tiny_coco}", f"--checkpoint_path={source}", *LENIENT)
        people.append(json.loads((tmp_path / "x" / "eval_result.json").read_text()))
    assert "ONNX Runtime" in capsys.readouterr().out
    assert len(people[0]) == len(people[1]) > 0
    for one, two in zip(*people, strict=True):
        assert one["image_id"] == two["image_id"] and one["score"] == pytest.approx(two["score"], rel=1e-3)
        assert one["keypoints"] == pytest.approx(two["keypoints"], abs=0.1)


def test_a_network_of_fixed_size_takes_every_image(monkeypatch, capsys, tiny_coco: Path, tmp_path: Path) -> None:
    """Images are stretched to its size, and its batch is filled up."""
    pytest.importorskip("onnx")
    target = tmp_path / "fixed.onnx"
    export.export_onnx(narrow_networks.network(), target, 11, (4, 48, 32))
    run_program(monkeypatch, tmp_path, f"--data_path={tiny_coco}", f"--model_path={target}")
    out = capsys.readouterr().out
    assert "input (48, 32)" in out and "AP" in result_of(out)


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (("--model_path=",), "--model_path is needed: .ckpt, .*training has left no .*model_best.pth"),
        (("--model_path=x.ckpt",), "x.ckpt: no such checkpoint"),
        (("--model_path=bare.ckpt",), "bare.ckpt: a checkpoint of another network"),
        (("--data_path=nowhere",), "nowhere/annotations/.*: no such file.*--data_path is needed"),
        (("--imgpath_val=test2017",), "test2017: no such file.*--imgpath_val names"),
        (("--skeleton=crowdpose",), "keypoint"),
        (("--n_integ_points=1",), "--n_integ_points=1: at least 2"),
    ],
)
def test_what_the_program_refuses(monkeypatch, tiny_coco, tmp_path, checkpoint, flags, message) -> None:
    monkeypatch.chdir(tmp_path)
    mindspore_checkpoint.write(Path("bare.ckpt"), {"fc.weight": torch.zeros(3)})
    given = (f"--data_path={tiny_coco}", f"--model_path={checkpoint}", f"--output_dir={tmp_path}")
    with pytest.raises(UserError, match=message):
        run_program(monkeypatch, tmp_path, *given, *flags)
    assert not list(tmp_path.rglob("eval_result.json"))


def test_a_training_without_validation_images_has_no_evaluation(tiny_coco: Path, tmp_path: Path) -> None:
    folder, notes = shutil.copytree(tiny_coco, tmp_path / "coco"), list[str]()
    config = Config(data_dir=str(folder))
    (folder / "annotations" / ANNOTATIONS).unlink()
    assert program.training_evaluation_set(config, OPENPOSE, notes.append) is None
    assert notes[0].startswith("note: no evaluation during training")
