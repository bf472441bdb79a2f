# SPDX-License-Identifier: Apache-2.0
import json
import re
import sys
from pathlib import Path

from common.cli import UserError
from common.skeleton import OPENPOSE
from Lightweight_OpenPose import export
from Lightweight_OpenPose.model import STRIDE, PoseEstimationWithMobileNet
from OpenPose_infer import benchmark, dumps
from OpenPose_infer.test import parse

import numpy as np
import pytest
import torch

HEIGHT, WIDTH, FIXED_BATCH = 64, 80, 2
CELLS = HEIGHT // STRIDE, WIDTH // STRIDE
NUM_INPUTS = 5  # no multiple of the batches
ROUNDING = 1e-4  # between a network with folded batch normalisation and without, part of the largest value


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    return PoseEstimationWithMobileNet(1, OPENPOSE.num_heatmaps, OPENPOSE.num_pafs).eval()


@pytest.fixture(scope="module")
def checkpoint(model, tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("weights") / "model.pth"
    torch.save({"state_dict": model.state_dict()}, path)
    return path


@pytest.fixture
def inputs(tmp_path, monkeypatch) -> dict[str, np.ndarray]:
    """Prepared inputs by their names, and the list of them, in the working directory."""
    monkeypatch.chdir(tmp_path)
    random = np.random.default_rng(0)
    arrays = {f"{number:012d}": random.random((3, HEIGHT, WIDTH), np.float32) - 0.5 for number in range(NUM_INPUTS)}
    Path("in put").mkdir()
    for name, array in arrays.items():
        array.tofile(f"in put/{name}.bin")
    lines = [f"{index} in put/{name}.bin {WIDTH} {HEIGHT}\n" for index, name in enumerate(arrays)]
    Path("bin.info").write_text("".join(lines))
    return arrays


def flags(network: Path, batch: int = 1, *more: str) -> list[str]:
    """As the published command writes them."""
    published = f"-model_type=vision -device_id=0 -batch_size={batch} -input_text_path=bin.info -input_width={WIDTH} "
    published += f"-input_height={HEIGHT} -output_binary=True -useDvpp=False --device=cpu --warm_up=1"
    return [*published.split(), f"-om_path={network}", *more]


def run_program(monkeypatch, *words: str) -> None:
    monkeypatch.setattr(sys, "argv", ["benchmark", *words])
    benchmark.main()


def check_dumps(model, inputs: dict[str, np.ndarray]) -> None:
    """Each image's files hold what the network gives for that image."""
    results = dumps.find(Path("result/dumpOutput_device0"))
    assert results.stems == tuple(sorted(inputs)) and results.last == 4
    for name, array in inputs.items():
        with torch.inference_mode():
            wanted = model(torch.from_numpy(array)[None])[-2:]
        for mine, theirs in zip(wanted, dumps.read_maps(results, name, OPENPOSE, CELLS), strict=True):
            assert np.abs(mine[0].numpy() - theirs).max() <= ROUNDING * float(mine.abs().max())


@pytest.mark.parametrize("more", [(), ("-output_binary=False",)])
def test_dumps_are_the_network_s_outputs_whatever_the_last_batch(checkpoint, model, inputs, monkeypatch, more):
    run_program(monkeypatch, *flags(checkpoint, 3, *more))
    check_dumps(model, inputs)
    suffix = ".txt" if more else ".bin"
    names = {path.name for path in Path("result/dumpOutput_device0").iterdir()}
    assert {Path(name).suffix for name in names} == {suffix}


def test_network_of_fixed_batch_is_filled_up_and_the_filling_dropped(model, inputs, monkeypatch, tmp_path):
    pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")
    network = tmp_path / "pose.onnx"
    export.export_onnx(model, network, 11, (FIXED_BATCH, HEIGHT, WIDTH))
    run_program(monkeypatch, *flags(network, FIXED_BATCH))
    check_dumps(model, inputs)
    with pytest.raises(UserError, match=f"-batch_size=1: .* takes {FIXED_BATCH} at once"):
        run_program(monkeypatch, *flags(network, 1))
    with pytest.raises(UserError, match="input data is 2 x 3 x 64 x 80"):
        run_program(monkeypatch, *flags(network, 2), "-input_text_path=", "-input_width=88")
    check_dumps(model, inputs)  # a refused run leaves the older results


def test_figures_have_the_published_lines_and_agree(checkpoint, inputs, monkeypatch, capsys):
    run_program(monkeypatch, *flags(checkpoint, 2, "--loop=2"))
    source = Path("result/perf_vision_batchsize_2_device_0.txt")
    lines = source.read_text().splitlines()
    assert [re.sub(r"[\d.e+-]+,", "N,", line.replace("[e2e]", "[all]")) for line in lines] == [
        "[all] throughputRate: N, latency: N,",
        "[data read] throughputRate: N, moduleLatency: N,",
        "[preprocess] throughputRate: N, moduleLatency: N,",
        "[inference] throughputRate: N, Interface throughputRate: N, moduleLatency: N,",
        "[postprocess] throughputRate: N, moduleLatency: N,",
    ]
    figures = json.loads(source.with_suffix(".json").read_text())
    rate, latency = map(float, re.findall(r":(.*?),", source.read_text())[7:9])  # where published programs look for it
    assert rate == pytest.approx(figures["network_throughput"], rel=1e-5)
    assert latency == pytest.approx(figures["ms_an_image"]["inference"] * 10 / 6, rel=1e-5)  # six calls
    assert figures["images"] == 2 * NUM_INPUTS and figures["batch_size"] == 2
    assert figures["latency_ms"]["p99"] >= figures["latency_ms"]["median"] > 0
    assert figures["ms_an_image"]["total"] == pytest.approx(1000 / figures["throughput"])
    assert figures["ms_an_image"]["inference"] >= figures["ms_an_image"]["network"] > 0
    assert "PyTorch" in figures["runtime"]
    said = capsys.readouterr().out
    assert source.read_text() in said and "5 images" in said


def test_without_inputs_the_network_alone_is_measured(checkpoint, inputs, monkeypatch, capsys):
    run_program(monkeypatch, *flags(checkpoint, 2, "-input_text_path=", "--loop=3"))
    assert not Path("result/dumpOutput_device0").exists()
    assert json.loads(Path("result/perf_vision_batchsize_2_device_0.json").read_text())["images"] == 6


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("0 in put/000000000000.bin 80", "is not `index path width height`"),
        ("0 in put/000000000000.bin 64 80", "64 x 80, but -input_width=80 -input_height=64"),
        ("0 in put/none.bin 80 64", "none.bin: No such file"),
        ("0 short.bin 80 64", "short.bin: 8 bytes, 3 x 64 x 80 float32 are 61440"),
        ("0 in put/000000000001.bin 80 64", "would have the same name"),
    ],
)
def test_broken_lists_are_refused(checkpoint, inputs, monkeypatch, line, words):
    Path("short.bin").write_bytes(bytes(8))
    lines = Path("bin.info").read_text().splitlines()
    Path("bin.info").write_text("\n".join([line, *lines[1:]]))
    with pytest.raises(UserError, match=words):
        run_program(monkeypatch, *flags(checkpoint))
    assert not Path("result").exists()


@pytest.mark.parametrize(
    ("word", "words"),
    [
        ("-model_type=bert", "choose from"),
        ("-useDvpp=True", "-useDvpp=False"),
        ("-input_text_path=none.info", "none.info: No such file"),
        ("-om_path=none.onnx", "none.onnx"),
    ],
)
def test_flags_that_cannot_be_meant(checkpoint, inputs, monkeypatch, word, words):
    with pytest.raises(UserError, match=re.escape(words)):
        run_program(monkeypatch, *flags(checkpoint, 1, word))


def test_published_parse_program_prints_four_times_the_network_s_rate(tmp_path, monkeypatch, capsys):
    """The file as the published tool leaves it, without commas at the ends of lines."""
    source = tmp_path / "perf_vision_batchsize_16_device_1.txt"
    source.write_text(
        "[e2e] throughputRate: 100.5, latency: 49751\n[data read] throughputRate: 300, moduleLatency: 3.3\n"
        "[preprocess] throughputRate: 200, moduleLatency: 5\n"
        "[inference] throughputRate: 110, Interface throughputRate: 136.999, moduleLatency: 9\n"
        "[postprocess] throughputRate: 101, moduleLatency: 150\n"
    )
    monkeypatch.setattr(sys, "argv", ["parse.py", str(source)])
    parse.main()
    assert capsys.readouterr().out == "310 bs16 fps:547.996\n"
    source.write_text("[e2e] throughputRate: 100.5")
    with pytest.raises(UserError, match="Interface throughputRate"):
        parse.main()
