# SPDX-License-Identifier: Apache-2.0
"""INT8 that finds people is written, with a report; INT8 that does not leaves one line and nothing else."""

import json
import os
import subprocess
import sys
from pathlib import Path

from common import qdq, quantization
from common.cli import UserError
from common.quantization_search import RefusedError
from common.runtime.session import Options, open_network
from common.sensitivity import Bounds
from Lightweight_OpenPose import export
from OpenPose_infer import quantize, sensitivity
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
    """`good`; `loud_block`, one block of which 8 bits ruin; `loud`: all of them; `blind`, which finds nobody."""
    folder = tmp_path_factory.mktemp("networks")
    export.export_onnx(blobs.finder(blobs.Small()), folder / "good.onnx", 11)
    export.export_onnx(blobs.finder(blobs.Small(), (1,)), folder / "loud_block.onnx", 13)
    export.export_onnx(blobs.finder(blobs.Small(), ALL_BLOCKS), folder / "loud.onnx", 11, (1, blobs.SIZE, blobs.SIZE))
    export.export_onnx(blobs.Small(), folder / "blind.onnx", 11)
    return folder


def run(monkeypatch, data: Path, model: Path, *words: str) -> None:
    flags = (f"--model={model}", f"--data-path={data}", f"--skeleton={data / 'blobs.yaml'}", "--calibration_images=4",
             "--threads=1", *words)  # fmt: skip
    size = () if "loud.onnx" in model.name else (f"--height={blobs.SIZE}", f"--width={blobs.SIZE}")
    monkeypatch.setattr(sys, "argv", ["quantize", *flags, *size])
    quantize.main()


def test_a_network_that_finds_people_is_quantised(tmp_path, data, networks, monkeypatch, capfd):
    target = tmp_path / "new" / "small.onnx"
    run(monkeypatch, data, networks / "good.onnx", f"--output_name={target}", "--openvino_xml")
    said, errors = capfd.readouterr()
    assert errors == ""
    assert said.splitlines()[-1].startswith(f"{target}: ") and "% of the multiplications in INT8" in said
    assert sorted(path.name for path in target.parent.iterdir()) == [
        "small.bin", "small.json", "small.onnx", "small.xml",
    ]  # fmt: skip
    image = np.random.default_rng(0).random((1, 3, 48, 64), np.float32) - 0.5
    sessions = [open_network(path, Options("cpu", provider="openvino", threads=1), None)
                for path in (target, target.with_suffix(".xml"))]  # fmt: skip
    for one, other in zip(*(session(image) for session in sessions), strict=True):
        np.testing.assert_allclose(one, other, rtol=0, atol=1e-4)
    written = onnx.load(target)
    onnx.checker.check_model(written, full_check=True)
    assert [entry.version for entry in written.opset_import if not entry.domain] == [13]
    for kind in ("heatmaps", "pafs"):  # the last convolution of each head, and nothing else, is float32
        for stage in ("initial_stage", "refinement_stages.0"):
            assert f"/{stage}/{kind}/{kind}.1/{kind}.1.0/Conv" in qdq.float_convolutions(written)
    assert len(qdq.float_convolutions(written)) == len(qdq.heads(written)) == 4
    makers = {name: node for node in written.graph.node for name in node.output}
    assert {makers[output.name].op_type for output in written.graph.output} == {"Conv"}  # no 8 bits behind them
    report = json.loads((tmp_path / "new/small.json").read_text())
    assert report["float_layers"] == qdq.float_convolutions(written) and len(report["calibration"]) == 4
    assert all(group["int8"] for group in report["groups"]) and report["int8_share"] > 0.5
    assert {one["runtime"] for one in report["comparisons"]} == {"ONNX Runtime", "OpenVINO"}
    assert all(one["float32"]["ap"] > 0.9 < one["int8"]["ap"] for one in report["comparisons"])


def test_a_missing_package_is_named_before_the_work(tmp_path, data, networks, monkeypatch):
    monkeypatch.setitem(sys.modules, "openvino", None)
    with pytest.raises(UserError, match=r"pip install 'pose-zoo\[openvino\]'"):
        run(monkeypatch, data, networks / "good.onnx", f"--output_name={tmp_path / 'a.onnx'}", "--openvino_xml")
    run(monkeypatch, data, networks / "good.onnx", f"--output_name={tmp_path / 'a.onnx'}")
    report = json.loads((tmp_path / "a.json").read_text())
    assert [one["runtime"] for one in report["comparisons"]] == ["ONNX Runtime"]
    monkeypatch.setitem(sys.modules, "onnxruntime.quantization", None)
    with pytest.raises(UserError, match=r"pip install 'pose-zoo\[infer\]'"):
        run(monkeypatch, data, networks / "good.onnx", f"--output_name={tmp_path / 'b.onnx'}")


def test_percentiles_and_narrow_weights(tmp_path, data, networks, monkeypatch, capfd):
    words = (f"--output_name={tmp_path / 'a.onnx'}", "--calibration_method=percentile", "--narrow_weights")
    run(monkeypatch, data, networks / "good.onnx", *words)
    assert "Percentile" not in capfd.readouterr().out  # what ONNX Runtime prints
    written = onnx.load(tmp_path / "a.onnx")
    weights = [onnx.numpy_helper.to_array(tensor) for tensor in written.graph.initializer if tensor.data_type == 3]
    assert max(np.abs(values.astype(int)).max() for values in weights if values.ndim == 4) <= 64


def test_weights_have_a_scale_a_channel(tmp_path, data, networks, monkeypatch):
    run(monkeypatch, data, networks / "good.onnx", f"--output_name={tmp_path / 'a.onnx'}")
    written = onnx.load(tmp_path / "a.onnx")
    tensors = {tensor.name: tensor for tensor in written.graph.initializer}
    makers = {node.output[0]: node for node in written.graph.node}
    for node in qdq.convolutions(written):
        if node.name not in qdq.float_convolutions(written):
            weights, scales, _ = (tensors[name] for name in makers[node.input[1]].input)
            assert weights.data_type == onnx.TensorProto.INT8 and scales.dims == weights.dims[:1]


def test_a_block_that_8_bits_ruin_stays_in_float32(tmp_path, data, networks, monkeypatch, capsys):
    run(monkeypatch, data, networks / "loud_block.onnx", f"--output_name={tmp_path / 'a.onnx'}")
    groups = {group["group"]: group for group in json.loads((tmp_path / "a.json").read_text())["groups"]}
    stays = {name for name, group in groups.items() if not group["int8"]}
    assert "backbone block 1" in stays and "backbone block 0" not in stays and "initial stage" not in stays
    assert groups["backbone block 1"]["peaks_kept"] == 0 < groups["backbone block 1"]["peaks"]
    shown = next(line for line in capsys.readouterr().out.splitlines() if line.startswith("backbone block 1 "))
    assert shown.endswith("float32")
    names = qdq.float_convolutions(onnx.load(tmp_path / "a.onnx"))
    assert "/model/model.1/model.1.3/Conv" in names and "/model/model.0/model.0.0/Conv" not in names


def test_layers_go_back_to_float32_until_the_ap_is_back(tmp_path, data, networks, monkeypatch, capsys):
    words = (f"--output_name={tmp_path / 'a.onnx'}", "--max_group_difference=9", "--max_peaks_lost=1")
    run(monkeypatch, data, networks / "loud_block.onnx", *words)
    said = capsys.readouterr().out
    assert "INT8 finds nobody with ONNX Runtime, where float32 finds 6 people: " in said
    assert "goes back to float32" in said and (tmp_path / "a.onnx").is_file()


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (("--min_int8_share=0.6",), "4 of 9 groups of layers are sensitive; "),
        (("--max_group_difference=9", "--max_peaks_lost=1", "--min_int8_share=0.8"),
         "INT8 finds nobody with ONNX Runtime, where float32 finds 6 people; "),
    ],
)  # fmt: skip
def test_int8_that_finds_nobody_is_refused(tmp_path, data, networks, monkeypatch, words, reason):
    target, report = tmp_path / "a.onnx", tmp_path / "a.json"
    target.write_text("the older one")
    report.write_text("its report")
    with pytest.raises(RefusedError) as refused:
        run(monkeypatch, data, networks / "loud.onnx", f"--output_name={target}", *words)
    assert str(refused.value).startswith(f"not written: {target}: ") and reason in str(refused.value)
    assert "of the multiplications would be left in INT8" in str(refused.value)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.json", "a.onnx"]
    assert target.read_text() == "the older one" and report.read_text() == "its report"


def test_the_program_ends_with_one_line_and_code_2(tmp_path, data, networks):
    (tmp_path / "blind_int8.onnx").write_text("the older one")
    flags = (f"--model={networks / 'blind.onnx'}", f"--data_path={data}", f"--skeleton={data / 'blobs.yaml'}",
             f"--output_name={tmp_path / 'blind_int8.onnx'}", "--height=96", "--width=96")  # fmt: skip
    done = subprocess.run(
        [sys.executable, "quantize.py", *flags], cwd=Path(quantize.__file__).parent, capture_output=True, text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"}, timeout=120, check=False,
    )  # fmt: skip
    lines = done.stderr.splitlines()
    assert done.returncode == 2 and len(lines) == 1, done.stderr
    assert lines[0].startswith(f"error: not written: {tmp_path / 'blind_int8.onnx'}: INT8 cannot be judged: ")
    assert "finds nobody on the 6 images" in lines[0]
    assert [path.read_text() for path in tmp_path.iterdir()] == ["the older one"]


class Screen:
    """An error stream that is a terminal."""

    def isatty(self) -> bool:
        return True


def test_the_line_is_red_on_a_screen(tmp_path, data, networks, monkeypatch):
    monkeypatch.setattr(quantization.sys, "stderr", Screen())
    with pytest.raises(RefusedError) as refused:
        run(monkeypatch, data, networks / "blind.onnx", f"--output_name={tmp_path / 'a.onnx'}")
    assert str(refused.value).startswith(quantization.RED) and str(refused.value).endswith(quantization.PLAIN)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("stages", [0, 1, 3])
def test_groups_cover_every_convolution_once(tmp_path, stages):
    export.export_onnx(blobs.Small(stages), tmp_path / "a.onnx", 11)
    network = qdq.prepare(tmp_path / "a.onnx", tmp_path / "prepared.onnx")
    groups = sensitivity.groups_of(network)
    members = [name for names in groups.values() for name in names]
    assert len(members) == len(set(members))
    assert {node.name for node in qdq.convolutions(network)} <= set(members)
    wanted = {"cpm", "initial stage", "initial stage heads", *(f"backbone block {block}" for block in range(3))}
    for stage in range(stages):
        wanted |= {f"refinement stage {stage}{part}" for part in (" entry", "", " heads")}
        joined = [node.output[0] for node in network.graph.node if node.op_type == "Concat"][stage]
        (reader,) = [node.name for node in network.graph.node if joined in node.input and node.op_type == "Conv"]
        assert reader in groups[f"refinement stage {stage} entry"]
    assert set(groups) == wanted
    assert len(qdq.heads(network)) == 2 * (stages + 1)


def test_groups_of_a_file_without_layer_names(tmp_path):
    export.export_onnx(blobs.Small(), tmp_path / "a.onnx", 13)
    network = onnx.load(tmp_path / "a.onnx")
    for number, node in enumerate(network.graph.node):
        node.name = f"node_{number}"
    groups = sensitivity.groups_of(network)
    members = [name for names in groups.values() for name in names]
    assert {node.name for node in qdq.convolutions(network)} <= set(members) and len(members) == len(set(members))
    assert list(groups)[0] == "convolutions 1 to 4" and len(groups) > 4


def test_multiplications_of_a_convolution(tmp_path):
    export.export_onnx(blobs.Small(), tmp_path / "a.onnx", 13)
    counts = qdq.multiplications(onnx.load(tmp_path / "a.onnx"), [np.zeros((1, 3, 64, 96), np.float32)])
    assert counts["/model/model.0/model.0.0/Conv"] == 8 * 3 * 3 * 3 * 32 * 48
    assert counts["/model/model.1/model.1.0/Conv"] == 8 * 3 * 3 * 16 * 24
    assert counts["/initial_stage/heatmaps/heatmaps.1/heatmaps.1.0/Conv"] == 512 * 4 * 8 * 12


def test_damage_of_maps_that_are_known():
    heatmaps, fields = np.zeros((1, 3, 6, 8), np.float32), np.full((1, 2, 6, 8), 0.5, np.float32)
    heatmaps[0, 0, 2, 2], heatmaps[0, 1, 4, 5], heatmaps[0, 2] = 0.8, 0.4, 1
    other = heatmaps.copy()
    other[0, 0, 2, 2], other[0, 0, 2, 3] = 0.3, 0.7  # moved by a cell: kept
    other[0, 1, 4, 5], other[0, 1, 0, 0] = 0.05, 0.2  # below the threshold: lost; and a new one
    damage = sensitivity.compare([heatmaps], [(heatmaps, fields)], lambda _: (other, fields * 0.9))
    assert (damage.peaks, damage.peaks_kept, damage.peaks_new) == (2, 1, 1)
    assert damage.heatmaps_largest == pytest.approx(0.7) and damage.fields_mean == pytest.approx(0.1)
    assert damage.heatmaps_mean == pytest.approx((0.5 + 0.7 + 0.35 + 0.2) / heatmaps.size)
    assert Bounds(1, 0.4).sensitive(damage) and not Bounds(1, 0.5).sensitive(damage)
    assert Bounds(0.05, 1).sensitive(damage)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ((), "--model is needed"),
        (("--model=a.pth",), "give an .onnx"),
        (("--model=nothing.onnx",), "nothing.onnx: no such file"),
        (("--model=broken.onnx",), "--data_path is needed"),
        (("--model=broken.onnx", "--data_path=mini", "--output_name=broken.onnx"), "must not be the file of --model"),
        (("--model=broken.onnx", "--data_path=mini", "--output_name=a.pth"), "must end in .onnx"),
        (("--model=broken.onnx", "--data_path=mini", "--max_ap_drop=2"), "--max_ap_drop=2"),
        (("--model=broken.onnx", "--data_path=nowhere"), "nowhere"),
        (("--model=broken.onnx", "--data_path={data}", "--calibration_path=nowhere"), "nowhere: no such folder"),
        (("--model=broken.onnx", "--data_path={data}", "--calibration_path=."), "no images"),
        (("--model=broken.onnx", "--data_path={data}"), "broken.onnx: .*export the network again"),
        (("--model={networks}/loud.onnx", "--data_path={data}", "--width=64"), "its width is 96, not 64"),
    ],
)
def test_bad_flags(tmp_path, data, networks, monkeypatch, words, message):
    monkeypatch.chdir(tmp_path)
    Path("broken.onnx").write_text("no network")
    filled = [word.format(data=data, networks=networks) for word in words]
    monkeypatch.setattr(sys, "argv", ["quantize", f"--skeleton={data / 'blobs.yaml'}", *filled])
    with pytest.raises(UserError, match=message):
        quantize.main()
    assert [path.name for path in tmp_path.iterdir()] == ["broken.onnx"]


def test_a_file_that_is_quantised_already(tmp_path, data, networks, monkeypatch):
    run(monkeypatch, data, networks / "good.onnx", f"--output_name={tmp_path / 'a.onnx'}")
    with pytest.raises(UserError, match="is quantised already"):
        run(monkeypatch, data, tmp_path / "a.onnx")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.json", "a.onnx"]


def test_the_written_network_takes_other_batches(tmp_path, data, networks, monkeypatch):
    run(monkeypatch, data, networks / "good.onnx", f"--output_name={tmp_path / 'a.onnx'}")
    for provider in ("cpu", "openvino"):
        session = open_network(tmp_path / "a.onnx", Options("cpu", provider=provider, threads=1), None)
        assert session(np.zeros((3, 3, 40, 64), np.float32))[-2].shape == (3, 4, 5, 8)
