# SPDX-License-Identifier: Apache-2.0
"""INT8 that finds people is written, with a report; INT8 that does not leaves one line and nothing else."""

import json
import sys
from pathlib import Path

from common.cli import UserError
from common.coco import images
from common.runtime.quantize import RefusedError
from common.runtime.session import Options, open_network
from Lightweight_OpenPose import export
from OpenPose_infer import quantize
from OpenPose_infer.test import blobs

import numpy as np
import pytest

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")

ALL_BLOCKS = (0, 1, 2)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return blobs.write_data(tmp_path_factory.mktemp("blobs") / "coco")


@pytest.fixture(scope="module")
def networks(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`good`; `loud`, whose layers 8 bits ruin; `blind`, which finds no people."""
    folder = tmp_path_factory.mktemp("networks")
    export.export_onnx(blobs.finder(blobs.Small()), folder / "good.onnx", 11)
    export.export_onnx(blobs.finder(blobs.Small(), ALL_BLOCKS), folder / "loud.onnx", 11, (1, blobs.SIZE, blobs.SIZE))
    export.export_onnx(blobs.Small(), folder / "blind.onnx", 11)
    return folder


def run(monkeypatch, data: Path, model: Path, *words: str) -> None:
    place = (f"--model={model}", f"--data-path={data}", f"--skeleton={data / 'blobs.yaml'}")
    size = () if "loud" in model.name else (f"--height={blobs.SIZE}", f"--width={blobs.SIZE}")
    monkeypatch.setattr(sys, "argv", ["quantize", *place, "--calibration_images=4", "--threads=1", *words, *size])
    quantize.main()


def test_a_network_that_finds_people_is_quantized(tmp_path, data, networks, monkeypatch, capfd):
    target = tmp_path / "new" / "small.onnx"
    run(monkeypatch, data, networks / "good.onnx", f"--output_name={target}")
    said, errors = capfd.readouterr()
    assert errors == "" and said.splitlines()[-1].startswith(f"{target}: ")
    assert sorted(path.name for path in target.parent.iterdir()) == ["small.json", "small.onnx"]
    written = onnx.load(target)
    onnx.checker.check_model(written, full_check=True)
    assert [entry.version for entry in written.opset_import if not entry.domain] == [13]
    integers = {name for node in written.graph.node if node.op_type == "DequantizeLinear" for name in node.output}
    in_float32 = [node.name for node in written.graph.node if node.op_type == "Conv" and node.input[1] not in integers]
    heads = [
        f"/{stage}/{kind}/{kind}.1/{kind}.1.0/Conv"
        for stage in ("initial_stage", "refinement_stages.0")
        for kind in ("heatmaps", "pafs")
    ]
    makers = {name: node for node in written.graph.node for name in node.output}
    assert {makers[output.name].op_type for output in written.graph.output} == {"Conv"}  # no 8 bits behind them
    report = json.loads((tmp_path / "new/small.json").read_text())
    assert sorted(report["float_layers"]) == sorted(in_float32) == sorted(heads)
    for runtime in ("ONNX Runtime", "OpenVINO"):
        assert report["float32"][runtime]["ap"] > 0.9 < report["int8"][runtime]["ap"]
    for provider in ("cpu", "openvino"):  # other batches and sizes
        session = open_network(target, Options("cpu", provider=provider, threads=1), None)
        assert session(np.zeros((3, 3, 40, 64), np.float32))[-2].shape == (3, 4, 5, 8)


def test_int8_that_finds_nobody_is_refused(tmp_path, data, networks, monkeypatch):
    target, report = tmp_path / "a.onnx", tmp_path / "a.json"
    target.write_text("the older one")
    report.write_text("its report")
    with pytest.raises(RefusedError, match="not written: .*a.onnx: INT8 finds no people, where float32 finds 6 "):
        run(monkeypatch, data, networks / "loud.onnx", f"--output_name={target}")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.json", "a.onnx"]
    assert target.read_text() == "the older one" and report.read_text() == "its report"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ((), "--model is needed"),
        (("--model={networks}/good.onnx",), "--data_path is needed: .*COCO_HOME or DATA_PATH.*none of these is there"),
        (("--model=broken.onnx", "--data_path=mini", "--output_name=broken.onnx"), "must not be the file of --model"),
        (("--model=broken.onnx", "--data_path=mini", "--output_name=a.pth"), "must end in .onnx"),
        (("--model={networks}/good.onnx", "--data_path=nowhere"), "nowhere"),
        (("--model={networks}/good.onnx", "--data_path={data}", "--calibration_path=no"), "no: no such folder"),
        (("--model={networks}/good.onnx", "--data_path={data}", "--calibration_path=."), "no images"),
        (("--model=broken.onnx", "--data_path={data}"), "broken.onnx: .*export the network again"),
        (("--model={networks}/loud.onnx", "--data_path={data}", "--width=64"), "its width is 96, not 64"),
    ],
)
def test_bad_flags(tmp_path, data, networks, monkeypatch, words, message):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(images, "ROOT", tmp_path / "project")
    Path("broken.onnx").write_text("no network")
    filled = [word.format(data=data, networks=networks) for word in words]
    monkeypatch.setattr(sys, "argv", ["quantize", f"--skeleton={data / 'blobs.yaml'}", *filled])
    with pytest.raises(UserError, match=message):
        quantize.main()
    assert [path.name for path in tmp_path.iterdir()] == ["broken.onnx"]
