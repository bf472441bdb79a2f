# SPDX-License-Identifier: Apache-2.0
"""Exported networks of all five directories, opened with nothing but the file: the people of the checkpoint."""

import json
import subprocess
import sys
from pathlib import Path

import AlphaPose.export
import common.skeleton
import Lightweight_OpenPose.export
import MIPNet.export
import OpenPose_infer.OpenPose_pth2onnx
import OpenPose_MindSpore_port.export
from AlphaPose.model import SimplePose
from common.cli import UserError
from common.runtime import metadata
from common.runtime.export import Ports, export_onnx
from common.test import blob_people
from common.test.programs import complaint, module
from Lightweight_OpenPose.model import PoseEstimationWithMobileNet
from MIPNet.test.programs import small_checkpoint
from OpenPose_infer.test.blobs import finder
from OpenPose_MindSpore_port.config import Inference
from OpenPose_MindSpore_port.test import narrow as narrow_networks
from OpenPose_MindSpore_port.test.narrow import narrow  # noqa: F401  a fixture
from tools import describe

import cv2
import numpy as np
import pytest
import torch

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")

BOXES = [[10, 10, 50, 60], [30, 20, 60, 70]]
LOOSE = Inference(inference_img_size=64, n_integ_points_thresh=3, n_subset_limbs_thresh=2, subset_score_thresh=0)
SIZE = (64, 48)
CROWDPOSE = "experiments/crowdpose/hrnet/w32_256x192_adam_lr1e-3_lambda.yaml"


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> np.ndarray:
    folder = blob_people.write_data(tmp_path_factory.mktemp("data"), 1)
    return cv2.imread(str(folder / "val2017" / "1.png"))


@pytest.fixture(scope="module")
def blobs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("skeleton") / "blobs.yaml"
    path.write_text(blob_people.SKELETON)
    return path


def run(monkeypatch: pytest.MonkeyPatch, program, *words: str) -> None:
    monkeypatch.setattr(sys, "argv", ["export", *words])
    program.main()


def same(one, other, tolerance: float = 0.01) -> None:
    assert len(one) == len(other) > 0 and one.skeleton.points == other.skeleton.points
    np.testing.assert_allclose(one.keypoints[..., :2], other.keypoints[..., :2], atol=tolerance)
    np.testing.assert_allclose(one.keypoints[..., 2], other.keypoints[..., 2], atol=max(1e-3, tolerance / 10))


@pytest.fixture
def blob_network(tmp_path: Path) -> Path:
    network = finder(PoseEstimationWithMobileNet(1, blob_people.COLOURS + 1, 4))
    torch.save({"state_dict": network.state_dict(), "ap": 0.5}, tmp_path / "blobs.pth")
    return tmp_path / "blobs.pth"


def test_lightweight_openpose_and_its_offline_inference(blob_network, blobs, image, tmp_path, monkeypatch):
    words = (f"--checkpoint_path={blob_network}", f"--skeleton={blobs}", f"--output_name={tmp_path / 'a.onnx'}")
    run(monkeypatch, Lightweight_OpenPose.export, *words)
    estimator = Lightweight_OpenPose.PoseEstimator(blob_network, "cpu", str(blobs))
    same(estimator(image), Lightweight_OpenPose.PoseEstimator(tmp_path / "a.onnx", "cpu")(image))
    run(monkeypatch, OpenPose_infer.OpenPose_pth2onnx, *words[:2], f"--output_name={tmp_path / 'b.onnx'}")
    estimator = Lightweight_OpenPose.PoseEstimator(blob_network, "cpu", str(blobs), height=368)
    same(estimator(image), Lightweight_OpenPose.PoseEstimator(tmp_path / "b.onnx", "cpu")(image), 0.5)
    (tmp_path / "a.onnx").replace(tmp_path / "c.onnx")  # without the .json beside it
    assert Lightweight_OpenPose.PoseEstimator(tmp_path / "c.onnx", "cpu").skeleton.name == "blobs"


def test_the_port(image, blobs, tmp_path, monkeypatch):
    skeleton = common.skeleton.load(blobs)
    source = narrow_networks.save(narrow_networks.network(skeleton), tmp_path / "model.pth")
    target = tmp_path / "a.onnx"
    run(
        monkeypatch,
        OpenPose_MindSpore_port.export,
        f"--ckpt_file={source}",
        f"--file_name={target}",
        f"--skeleton={blobs}",
    )
    found = [
        OpenPose_MindSpore_port.PoseEstimator(path, "cpu", name, LOOSE)
        for path, name in ((source, skeleton), (target, ""))
    ]
    same(*(estimator(image) for estimator in found))


@pytest.mark.parametrize("loss", ["MSELoss", "L1JointRegression"])
def test_alphapose(loss, blobs, image, tmp_path, monkeypatch):
    torch.manual_seed(0)
    network = SimplePose(blob_people.COLOURS, 18)
    with torch.no_grad():
        network.final_layer.weight *= 10
        network.final_layer.bias.fill_(0.5)  # people of low scores are dropped
    own = {
        "MODEL.TYPE": "SimplePose",
        "MODEL.NUM_LAYERS": 18,
        "DATA_PRESET.IMAGE_SIZE": SIZE,
        "LOSS.TYPE": loss,
        "DATA_PRESET.HEATMAP_SIZE": (16, 12),
        "DATA_PRESET.NUM_JOINTS": 0,
        "skeleton": str(blobs),
    }
    torch.save({"state_dict": network.state_dict(), "config": own}, tmp_path / "model.pth")
    target = tmp_path / "a.onnx"
    run(monkeypatch, AlphaPose.export, f"--checkpoint={tmp_path / 'model.pth'}", f"--output_name={target}")
    same(*(AlphaPose.PoseEstimator(tmp_path / name)(image, BOXES) for name in ("model.pth", "a.onnx")))


@pytest.mark.parametrize("words", [("DATASET.COLOR_RGB", "False"), (f"--cfg={CROWDPOSE}",)])
def test_mipnet(words, image, tmp_path, monkeypatch):
    _, source = small_checkpoint(tmp_path, *words)
    run(monkeypatch, MIPNet.export, f"--checkpoint_path={source}", f"--output_name={tmp_path / 'a.onnx'}")
    found = [MIPNet.PoseEstimator(path) for path in (source, tmp_path / "a.onnx")]
    assert found[0].config.yaml == found[1].config.yaml
    same(*(estimator(image, BOXES) for estimator in found))


def test_what_a_file_says(blob_network, blobs, tmp_path, monkeypatch, capsys):
    words = (f"--checkpoint_path={blob_network}", f"--skeleton={blobs}", f"--output_name={tmp_path / 'a.onnx'}")
    run(monkeypatch, Lightweight_OpenPose.export, *words, "--height=64")
    beside = json.loads((tmp_path / "a.json").read_text())
    assert beside == metadata.read(tmp_path / "a.onnx")
    capsys.readouterr()
    describe.main([str(tmp_path / "a.onnx")])
    said = dict(line.split(None, 1) for line in capsys.readouterr().out.splitlines())
    assert json.loads(said["network"]) == "Lightweight_OpenPose" and json.loads(said["ap"]) == 0.5
    assert json.loads(said["keypoints"]) == ["head", "left", "right"]
    assert json.loads(said["inputs"]) == {"data": [None, 3, 64, None]}
    assert json.loads(said["input"])["mean"] == [128] * 3 and json.loads(said["stride"]) == 8
    content = onnx.load(tmp_path / "a.onnx")
    content.metadata_props.add(key="onnx.infer", value="onnxruntime.quant")  # as ONNX Runtime does in an INT8 file
    onnx.save(content, tmp_path / "a.onnx")
    assert metadata.read(tmp_path / "a.onnx") == beside


OPENERS = {
    "Lightweight_OpenPose": lambda path, **words: Lightweight_OpenPose.PoseEstimator(path, "cpu", **words),
    "OpenPose_MindSpore_port": lambda path, **words: OpenPose_MindSpore_port.PoseEstimator(path, "cpu", **words),
    "AlphaPose": AlphaPose.PoseEstimator,
    "MIPNet": MIPNet.PoseEstimator,
}


@pytest.mark.parametrize("name", list(OPENERS))
def test_networks_of_others_are_one_line(name, blob_network, blobs, tmp_path, monkeypatch):
    class Classifier(torch.nn.Module):
        def forward(self, images: torch.Tensor) -> torch.Tensor:
            return images.mean((2, 3))

    opener, other = OPENERS[name], "MIPNet" if name != "MIPNet" else "AlphaPose"
    source, trial = tmp_path / "a.onnx", [(torch.rand(1, 3, 64, 64),)]
    export_onnx(Classifier(), source, 11, Ports(["x"], ["y"]), trial)
    assert not list(tmp_path.glob("*.json"))
    with pytest.raises(UserError, match=f"a.onnx: no network of {name} with these keypoints .*python -m {name}.export"):
        opener(source)
    for about, words in (
        ({"pose_zoo": 1, "network": other}, f"a network of {other}, not of {name}: open it"),
        ({"pose_zoo": 2, "network": name}, "by a newer version"),
        ({"pose_zoo": 1, "network": name, "skeleton": {"keypoints": 3}}, "keypoints: a list of names is needed"),
    ):
        export_onnx(Classifier(), source, 11, Ports(["x"], ["y"]), trial, about)
        with pytest.raises(UserError, match=words):
            opener(source)
    source.write_text("no network")
    with pytest.raises(UserError, match=r"a\.onnx: .*export the network again"):
        opener(source)


def test_another_skeleton_than_the_files_own(blob_network, blobs, tmp_path, monkeypatch):
    words = (f"--checkpoint_path={blob_network}", f"--skeleton={blobs}", f"--output_name={tmp_path / 'a.onnx'}")
    run(monkeypatch, Lightweight_OpenPose.export, *words)
    with pytest.raises(UserError, match="finds the keypoints of the skeleton blobs, not those asked for: leave --skel"):
        Lightweight_OpenPose.PoseEstimator(tmp_path / "a.onnx", skeleton="coco")
    Lightweight_OpenPose.PoseEstimator(tmp_path / "a.onnx", skeleton=str(blobs))


def test_the_version_names_the_commit(tmp_path, monkeypatch):
    (tmp_path / "common" / "runtime").mkdir(parents=True)
    monkeypatch.setattr(metadata, "__file__", str(tmp_path / "common" / "runtime" / "metadata.py"))
    assert metadata.code_version() == common.VERSION  # of a copy without history
    git = ["git", "-C", str(tmp_path), "-c", "user.name=a", "-c", "user.email=a@b.c"]
    (tmp_path / "a.py").touch()
    for words in ("init -q", "add a.py", "commit -q -m first"):
        subprocess.run([*git, *words.split()], check=True)
    commit = subprocess.check_output([*git, "rev-parse", "--short", "HEAD"], text=True).strip()
    assert metadata.code_version() == f"{common.VERSION} {commit}"
    (tmp_path / "a.py").write_text("changed = True")
    assert metadata.code_version() == f"{common.VERSION} {commit}-dirty"


@pytest.mark.parametrize("program", ["tools.describe", "tools.weights", "common.launch"])
def test_help_is_no_error(program):
    found = module(program, "--help")
    assert found.returncode == 0 and found.stdout.startswith(f"usage: python -m {program} ")


def test_bad_words(tmp_path):
    for words, message in (((), "name one file"), (("x.onnx",), "x.onnx: no such file"), (("--a",), "name one file")):
        assert message in complaint(module("tools.describe", *words, cwd=tmp_path))
    (tmp_path / "x.pth").touch()
    assert "says nothing of itself: export it again" in complaint(module("tools.describe", "x.pth", cwd=tmp_path))
