# SPDX-License-Identifier: Apache-2.0
"""eval.py as a user types it, on a narrow network."""

import ast
import json
import resource
import shutil
import sys
from pathlib import Path

from common.cli import UserError
from common.coco.evaluate import COCO_METRICS
from common.runtime.session import Options
from common.skeleton import OPENPOSE
from OpenPose_MindSpore_port import eval as program
from OpenPose_MindSpore_port import export, inference, mindspore_checkpoint
from OpenPose_MindSpore_port.config import NETWORK
from OpenPose_MindSpore_port.evaluation import PUBLISHED_NAMES
from OpenPose_MindSpore_port.inference import Estimator
from OpenPose_MindSpore_port.test import narrow as narrow_networks
from OpenPose_MindSpore_port.test.narrow import narrow  # noqa: F401  a fixture

import numpy as np
import pytest
import torch

LENIENT = (
    "--inference_img_size=64", "--n_integ_points_thresh=3", "--n_subset_limbs_thresh=2", "--subset_score_thresh=0",
)  # fmt: skip
SMALL = ("--device=cpu", "--inference_img_size=32")


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """As MindSpore's training leaves it: `network.` before the names, moments beside."""
    path = tmp_path_factory.mktemp("weights") / "0-6_30000.ckpt"
    weights = narrow_networks.network().state_dict()
    entries = {f"{prefix}network.{name}": tensor for prefix in ("", "moment1.") for name, tensor in weights.items()}
    mindspore_checkpoint.write(path, {**entries, "global_step": torch.tensor([30000])})
    return path


def run_program(monkeypatch: pytest.MonkeyPatch, *flags: str) -> None:
    monkeypatch.setattr(sys, "argv", ["eval.py", *SMALL, *flags])
    program.main()


def result_of(out: str) -> dict[str, float]:
    (line,) = [line for line in out.splitlines() if line.startswith("result:  ")]
    return ast.literal_eval(line.removeprefix("result:  "))


def test_the_published_command(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tiny_coco: Path, tmp_path: Path,
    checkpoint: Path,
) -> None:  # fmt: skip
    folder = tmp_path / "found"
    run_program(
        monkeypatch, f"--data_dir={tiny_coco}", "--model_path", str(checkpoint), "--imgpath_val", "val2017",
        "--ann", "person_keypoints_val2017.json", "--output_path", str(folder), "--is_distributed", "0", "--rank", "0",
        "--group_size", "1", f"--log_dir={tmp_path / 'logs'}",
    )  # fmt: skip
    said = capsys.readouterr()
    metrics = result_of(said.out)
    assert list(metrics) == list(PUBLISHED_NAMES) and 0 <= metrics["AP"] < 0.5
    assert f"images 6, of all images, checkpoint {checkpoint}, runtime PyTorch" in said.out
    assert "input short side 32" in said.out and "decode improved" in said.out
    assert "--is_distributed has no effect: torchrun" in said.err
    people = json.loads((folder / "eval_result.json").read_text())
    assert all(set(person) == {"image_id", "category_id", "keypoints", "score"} for person in people)
    record = json.loads((folder / "metrics.jsonl").read_text().splitlines()[-1])
    assert list(record["metrics"]) == list(COCO_METRICS) and record["metrics"]["AP"] == metrics["AP"]
    assert json.loads((tmp_path / "logs" / "run.json").read_text())["network"] == NETWORK
    assert not list(folder.glob("*.png"))


def test_the_protocol_of_the_original_draws_and_skips(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tiny_coco: Path, tmp_path: Path,
    checkpoint: Path,
) -> None:  # fmt: skip
    """Images with people only, its decoder, a picture of every image: the best checkpoint of training."""
    best = tmp_path / "train_checkpoints" / "model_best.pth"
    best.parent.mkdir()
    narrow_networks.save(narrow_networks.network(), best)
    coco = shutil.copytree(tiny_coco, tmp_path / "coco")
    content = json.loads((coco / "annotations" / "person_keypoints_val2017.json").read_text())
    populated = {person["image_id"] for person in content["annotations"]}
    run_program(monkeypatch, f"--data_path={coco}", f"--output_dir={tmp_path}", "--original", "--save_images=-1")
    said = capsys.readouterr().out
    assert f"images {len(populated)}, of images with people, checkpoint {best}" in said
    assert "decode original" in said
    drawn = {int(path.stem) for path in (tmp_path / "output_img").glob("*.png")}
    assert drawn == populated and len(populated) < len(content["images"])
    for person in json.loads((tmp_path / "output_img" / "eval_result.json").read_text()):
        assert all(float(number).is_integer() for number in person["keypoints"])


def test_a_full_disk_is_one_line(
    monkeypatch: pytest.MonkeyPatch, tiny_coco: Path, tmp_path: Path, checkpoint: Path
) -> None:
    """As where a file may not grow beyond a few bytes."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2000, before[1]))
    try:
        with pytest.raises(UserError, match="cannot write .*eval_result.json: File too large"):
            run_program(monkeypatch, f"--data_path={tiny_coco}", f"--model_path={checkpoint}", *LENIENT,
                        f"--output_path={tmp_path}", f"--log_dir={tmp_path}")  # fmt: skip
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert not (tmp_path / "eval_result.json").exists()


def test_checkpoints_of_each_format_give_the_same_maps(tmp_path: Path, checkpoint: Path) -> None:
    """.pth, MindSpore's .ckpt and .safetensors through the session that all programs open."""
    safetensors = pytest.importorskip("safetensors.torch")
    built = narrow_networks.network()
    paths = [checkpoint, narrow_networks.save(built, tmp_path / "a.pth"), tmp_path / "a.safetensors"]
    safetensors.save_file({name: tensor.contiguous() for name, tensor in built.state_dict().items()}, paths[2])
    inputs, found = np.random.default_rng(1).random((1, 3, 16, 16), np.float32) - np.float32(0.5), []
    for path in paths:
        found.append(Estimator(inference.open_session(path, Options("cpu"), OPENPOSE), OPENPOSE).maps(inputs))
    for other in found[1:]:
        assert all(np.allclose(one, two, atol=1e-5) for one, two in zip(found[0], other, strict=True))


def test_an_exported_network_has_the_same_result(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tiny_coco: Path, tmp_path: Path,
    checkpoint: Path,
) -> None:  # fmt: skip
    pytest.importorskip("onnx")
    export.export_onnx(narrow_networks.network(), tmp_path / "openpose.onnx", 11)
    people = []
    for source in (checkpoint, tmp_path / "openpose.onnx"):
        folder = tmp_path / source.stem
        run_program(monkeypatch, f"--data_path={tiny_coco}", f"--checkpoint_path={source}", f"--output_path={folder}",
                    *LENIENT, f"--log_dir={tmp_path / 'logs'}")  # fmt: skip
        people.append(json.loads((folder / "eval_result.json").read_text()))
    assert "ONNX Runtime" in capsys.readouterr().out
    assert len(people[0]) == len(people[1]) > 0
    for one, two in zip(*people, strict=True):
        assert one["image_id"] == two["image_id"] and one["score"] == pytest.approx(two["score"], rel=1e-3)
        assert one["keypoints"] == pytest.approx(two["keypoints"], abs=0.1)


def test_a_network_of_fixed_size_takes_every_picture(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tiny_coco: Path, tmp_path: Path
) -> None:  # fmt: skip
    """Pictures are stretched to its size, and its batch is filled up."""
    target = tmp_path / "fixed.onnx"
    export.export_onnx(narrow_networks.network(), target, 11, (4, 48, 32))
    run_program(monkeypatch, f"--data_path={tiny_coco}", f"--model_path={target}", f"--output_path={tmp_path / 'x'}",
                f"--log_dir={tmp_path / 'logs'}")  # fmt: skip
    out = capsys.readouterr().out
    assert "input (48, 32)" in out and "AP" in result_of(out)


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (("--model_path=",), "--model_path is needed: .ckpt, .*training has left no .*model_best.pth"),
        (("--model_path=x.ckpt",), "x.ckpt: no such file"),
        (("--model_path=x.pth",), "x.pth: no such checkpoint"),
        (("--data_path=",), "--data_path is needed"),
        (("--data_path=nowhere",), "--ann=person_keypoints_val2017.json: nowhere/annotations/.* not there"),
        (("--imgpath_val=test2017",), "--imgpath_val=test2017: .*test2017 not there"),
        (("--skeleton=crowdpose",), "keypoint"),
        (("--save_images=-2",), "--save_images=-2: at least -1"),
        (("--num_workers=0",), "--num_workers=0: at least 1"),
        (("--inference_img_size=0",), "--inference_img_size=0: at least 1"),
        (("--n_integ_points=1",), "num_samples=1: must be 2 or more"),
        (("--leraning_rate=1",), "--leraning_rate=1"),
    ],
)
def test_what_the_program_refuses(
    monkeypatch: pytest.MonkeyPatch, tiny_coco: Path, tmp_path: Path, checkpoint: Path, flags: tuple[str, ...],
    message: str,
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=message):
        run_program(monkeypatch, f"--data_path={tiny_coco}", f"--model_path={checkpoint}", "--output_dir=out", *flags)
    assert not list(tmp_path.rglob("eval_result.json"))


def test_a_checkpoint_of_another_network_is_refused(
    monkeypatch: pytest.MonkeyPatch, tiny_coco: Path, tmp_path: Path
) -> None:
    """The original would evaluate random weights (spec, bug 5)."""
    path = tmp_path / "bare.ckpt"
    mindspore_checkpoint.write(path, {"fc.weight": torch.zeros(3)})
    with pytest.raises(UserError, match="bare.ckpt"):
        run_program(monkeypatch, f"--data_path={tiny_coco}", f"--model_path={path}", f"--output_dir={tmp_path}")
