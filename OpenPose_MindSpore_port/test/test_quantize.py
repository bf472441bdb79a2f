# SPDX-License-Identifier: Apache-2.0
"""INT8 that finds the same people is written, with a report; an untrained network is refused in one line."""

import json
import sys
from pathlib import Path

from common.runtime.quantize import RefusedError, Score
from common.runtime.session import Options, open_network
from common.skeleton import OPENPOSE
from OpenPose_MindSpore_port import eval as evaluation_program
from OpenPose_MindSpore_port import export, quantize
from OpenPose_MindSpore_port.test import narrow as narrow_networks
from OpenPose_MindSpore_port.test.narrow import narrow  # noqa: F401  a fixture

import numpy as np
import pytest

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")

SMALL = ("--inference_img_size=64", "--n_integ_points_thresh=3", "--n_subset_limbs_thresh=2", "--subset_score_thresh=0")


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory, narrow: None) -> Path:  # noqa: F811
    target = tmp_path_factory.mktemp("exported") / "openpose.onnx"
    export.export_onnx(narrow_networks.network(), target, 11)
    return target


def run(monkeypatch: pytest.MonkeyPatch, *words: str) -> None:
    monkeypatch.setattr(sys, "argv", ["quantize", "--threads=1", "--calibration_images=2", *SMALL, *words])
    quantize.main()


def test_ap_is_that_of_the_evaluation(tmp_path, model, tiny_coco, monkeypatch):
    """The network is not trained: what its evaluation finds is replaced by people, what it computes is not."""

    def evaluated(estimator, validation, batch_size):
        result = evaluate(estimator, validation, batch_size)
        result.metrics["AP"] += 0.5
        return result

    evaluate = quantize.evaluate
    monkeypatch.setattr(quantize, "evaluate", evaluated)
    target = tmp_path / "int8.onnx"
    run(monkeypatch, f"--model={model}", f"--data_path={tiny_coco}", f"--output_name={target}", "--max_ap_drop=0.4")
    report = json.loads(target.with_suffix(".json").read_text())
    assert len(report["float_layers"]) == 12 and report["calibration"] == f"2 images of {tiny_coco / 'train2017'}"
    session = open_network(target, Options("cpu", provider="cpu", threads=1), None)
    outputs = session(np.zeros((2, 3, 64, 96), np.float32))
    assert len(outputs) == 12 and outputs[-1].shape == (2, OPENPOSE.num_heatmaps, 8, 12)
    words = (f"--data_path={tiny_coco}", f"--model_path={target}", f"--output_path={tmp_path}", f"--log_dir={tmp_path}")
    monkeypatch.setattr(sys, "argv", ["eval.py", "--device=cpu", "--provider=cpu", *SMALL, *words])
    evaluation_program.main()
    ap = json.loads((tmp_path / "metrics.jsonl").read_text().splitlines()[-1])["metrics"]["AP"]
    assert report["int8"]["ONNX Runtime"]["ap"] == pytest.approx(ap + 0.5, abs=1e-6)


def test_a_network_that_finds_nobody_right_is_refused(tmp_path, model, tiny_coco, monkeypatch):
    monkeypatch.setattr(quantize, "Score", lambda ap, people: Score(0.0, people))
    with pytest.raises(RefusedError, match="not written: .*a.onnx: AP cannot tell what INT8 does"):
        run(monkeypatch, f"--model={model}", f"--data_path={tiny_coco}", f"--output_name={tmp_path / 'a.onnx'}")
    assert not list(tmp_path.iterdir())
