# SPDX-License-Identifier: Apache-2.0
"""INT8 of networks with lambda: written with a report where it finds the same people, else refused."""

import json
from pathlib import Path

from common.cli import UserError
from common.runtime.quantize import RefusedError
from common.test import quantised_programs
from common.test.blob_people import COLOURS
from common.test.quantised_programs import report
from MIPNet import eval as evaluation_program
from MIPNet import quantize
from MIPNet.test.programs import run

import pytest

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")

PAIRS = ("MODEL.NUM_JOINTS", str(COLOURS))


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return quantised_programs.data(tmp_path_factory.mktemp("people") / "coco")


@pytest.fixture(scope="module")
def networks(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("networks")
    return quantised_programs.networks(folder, background=0.5, with_lambda=True)


def quantized(data: Path, model: Path, *words: str) -> None:
    run(quantize, *quantised_programs.flags(data, model), *PAIRS, *words)


def test_a_network_that_finds_people_is_quantized(tmp_path, data, networks):
    target = tmp_path / "a.onnx"
    quantized(data, networks / "good.onnx", f"--output_name={target}", "TEST.FLIP_TEST", "true")
    assert report(target)["float_layers"] == ["/final_layer/Conv"]
    facts = report(target)["protocol"]
    assert facts["flip_test"] is True and facts["lambdas"] == [0.0, 1.0]
    for runtime, before in report(target)["float32"].items():
        assert before["ap"] > 0.9 and report(target)["int8"][runtime]["ap"] > before["ap"] - 0.002
    place = (f"--data_path={data}", f"--skeleton={data / 'blobs.yaml'}", f"--output_dir={tmp_path}", "--device=cpu")
    run(evaluation_program, f"--checkpoint_path={target}", *place, *PAIRS)
    (metrics,) = tmp_path.glob("output/*/*/*/eval/metrics.jsonl")
    ap = report(target)["int8"]["ONNX Runtime"]["ap"]
    assert json.loads(metrics.read_text().splitlines()[-1])["metrics"]["AP"] == pytest.approx(ap, abs=1e-6)


def test_int8_that_loses_people_is_refused(tmp_path, data, networks):
    for name in ("a.onnx", "a.json"):
        (tmp_path / name).write_text("the older one")
    with pytest.raises(RefusedError, match="not written: .*a.onnx: INT8 finds no people, where float32 finds"):
        quantized(data, networks / "loud.onnx", f"--output_name={tmp_path / 'a.onnx'}")
    assert [path.read_text() for path in tmp_path.iterdir()] == ["the older one"] * 2


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--data_path=",), "--data_path is needed: a COCO folder"),
        (("--model={networks}/blind.onnx",), "AP cannot tell .* finds no people"),
        (("--skeleton=coco", "MODEL.NUM_JOINTS", "17"), "no network of MIPNet with these keypoints"),
        (("--lambdas=0,2",), "--lambdas=0.0,2.0"),
    ],
)
def test_bad_input(tmp_path, data, networks, monkeypatch, words, message):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=message):
        quantized(
            data, networks / "good.onnx", "--output_name=out.onnx", *(word.format(networks=networks) for word in words)
        )
    assert not list(tmp_path.iterdir())
