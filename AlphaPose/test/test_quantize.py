# SPDX-License-Identifier: Apache-2.0
"""INT8 that finds the same keypoints is written, with a report; INT8 that does not leaves one line and nothing else."""

import json
import sys
from pathlib import Path

from AlphaPose import eval as evaluation_program
from AlphaPose import quantize
from AlphaPose.config import DEFAULT_CFG
from common import qdq, quantization
from common.cli import UserError
from common.quantization_search import RefusedError
from common.runtime.session import Options, open_network
from common.test import programs, quantised_programs
from common.test.blob_people import COLOURS, SIZE_IN, Finder
from common.test.quantised_programs import report

import numpy as np
import pytest
import yaml

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")

BACKGROUND = 0.12


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = quantised_programs.data(tmp_path_factory.mktemp("people") / "coco")
    recipe = yaml.safe_load(Path(DEFAULT_CFG).read_text())
    recipe["DATA_PRESET"]["NUM_JOINTS"] = COLOURS
    (folder / "blobs_recipe.yaml").write_text(yaml.safe_dump(recipe))
    return folder


@pytest.fixture(scope="module")
def networks(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return quantised_programs.networks(tmp_path_factory.mktemp("networks"), BACKGROUND)


def flags(data: Path, model: Path) -> list[str]:
    return [*quantised_programs.flags(data, model), f"--cfg={data / 'blobs_recipe.yaml'}"]


def run(monkeypatch, data: Path, model: Path, *words: str) -> None:
    monkeypatch.setattr(sys, "argv", ["quantize", *flags(data, model), *words])
    quantize.main()


def test_a_network_that_finds_people_is_quantised(tmp_path, data, networks, monkeypatch, capfd):
    target = tmp_path / "new" / "small.onnx"
    run(monkeypatch, data, networks / "good.onnx", f"--output_name={target}", "--openvino_xml", "--flip_test")
    said, errors = capfd.readouterr()
    assert errors == "" and said.splitlines()[-1].startswith(f"{target}: ")
    assert f"calibration: 4 people of {data / 'annotations/person_keypoints_train2017.json'}; " in said
    assert sorted(path.suffix for path in target.parent.iterdir()) == [".bin", ".json", ".onnx", ".xml"]
    written = onnx.load(target)
    onnx.checker.check_model(written, full_check=True)
    assert report(target)["float_layers"] == qdq.float_convolutions(written) == ["/final_layer/Conv"]
    assert len(report(target)["calibration"]) == 4 and report(target)["int8_share"] > 0.9
    facts = report(target)["protocol"]
    assert facts["boxes"] == "given" and facts["flip_test"] is True and facts["people"] == 6
    assert {one["runtime"] for one in report(target)["comparisons"]} == {"ONNX Runtime", "OpenVINO"}
    for one in report(target)["comparisons"]:
        assert one["float32"]["ap"] > 0.9 and one["int8"]["ap"] > one["float32"]["ap"] - 0.002
        assert one["int8"]["people"] == 6
    for provider in ("cpu", "openvino"):
        session = open_network(target, Options("cpu", provider=provider, threads=1), None)
        assert session(np.zeros((3, 3, *SIZE_IN), np.float32))[0].shape == (3, 3, 16, 12)


def test_the_evaluation_takes_the_file_and_finds_the_ap_of_the_report(tmp_path, data, networks, monkeypatch):
    target = tmp_path / "good_int8.onnx"
    run(monkeypatch, data, networks / "good.onnx", f"--output_name={target}")
    for provider, runtime in (("cpu", "ONNX Runtime"), ("openvino", "OpenVINO")):
        place = tmp_path / provider
        words = (f"--checkpoint={target}", f"--data_path={data}", "--device=cpu", f"--output_dir={place}")
        words += (f"--skeleton={data / 'blobs.yaml'}", f"--cfg={data / 'blobs_recipe.yaml'}", f"--provider={provider}")
        monkeypatch.setattr(sys, "argv", ["eval", *words])
        evaluation_program.main()
        (metrics,) = place.glob("exp/*/eval/metrics.jsonl")
        (ap,) = [one["int8"]["ap"] for one in report(target)["comparisons"] if one["runtime"] == runtime]
        assert json.loads(metrics.read_text().splitlines()[-1])["metrics"]["AP"] == pytest.approx(ap, abs=1e-6)


def test_boxes_of_a_detector(tmp_path, data, networks, monkeypatch):
    boxes = [{"image_id": image, "category_id": 1, "bbox": [10, 10, 70, 60], "score": 0.9} for image in (1, 2)]
    (tmp_path / "boxes.json").write_text(json.dumps(boxes))
    words = (f"--detections={tmp_path / 'boxes.json'}", "--nms=pose", "--max_ap_drop=0.05", "--min_int8_share=0")
    run(monkeypatch, data, networks / "good.onnx", f"--output_name={tmp_path / 'a.onnx'}", *words)
    facts = report(tmp_path / "a.onnx")["protocol"]
    assert facts["boxes"] == str(tmp_path / "boxes.json") and facts["nms"] == "pose" and facts["people"] == 2


def test_a_layer_that_8_bits_ruin_stays_in_float32(tmp_path, data, networks, monkeypatch, capsys):
    target = tmp_path / "a.onnx"
    run(monkeypatch, data, networks / "loud_layer.onnx", f"--output_name={target}", "--min_int8_share=0.1")
    assert "/layers.1/Conv" in report(target)["float_layers"] and "/stem/Conv" not in report(target)["float_layers"]
    groups = {group["group"]: group for group in report(target)["groups"]}
    assert not groups["layers.1"]["int8"] and groups["layers.1"]["peaks_kept"] < groups["layers.1"]["peaks"]
    assert next(line for line in capsys.readouterr().out.splitlines() if "layers.1 " in line).endswith("float32")


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (("--calibration_method=minmax",), "3 of 4 groups of layers are sensitive; "),
        (("--calibration_method=auto", "--max_group_difference=9", "--max_peaks_lost=1", "--min_int8_share=0.8"),
         "INT8 finds nobody with ONNX Runtime, where float32 finds 6 people; "),
    ],
)  # fmt: skip
def test_int8_that_loses_people_is_refused(tmp_path, data, networks, monkeypatch, words, reason):
    target, beside = tmp_path / "a.onnx", tmp_path / "a.json"
    target.write_text("the older one")
    beside.write_text("its report")
    with pytest.raises(RefusedError) as refused:
        run(monkeypatch, data, networks / "loud.onnx", f"--output_name={target}", *words)
    assert str(refused.value).startswith(f"not written: {target}: {reason}")
    assert "of the multiplications would be left in INT8" in str(refused.value)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.json", "a.onnx"]
    assert target.read_text() == "the older one" and beside.read_text() == "its report"


def test_the_program_ends_with_one_line(tmp_path, data, networks):
    words = flags(data, networks / "blind.onnx")
    done = programs.module("AlphaPose.quantize", *words, f"--output_name={tmp_path / 'blind.onnx'}")
    line = programs.complaint(done)
    assert line.startswith(f"error: not written: {tmp_path / 'blind.onnx'}: INT8 cannot be judged: ")
    assert "finds nobody on the 6 images" in line and not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--model=",), "--model is needed: the .onnx that python -m AlphaPose.export writes"),
        (("--model=a.pth",), "--model=a.pth: give an .onnx"),
        (("--model=nothing.onnx",), "nothing.onnx: no such file"),
        (("--model=broken.onnx",), "broken.onnx: .*export the network again"),
        (("--data_path=",), "--data_path is needed"),
        (("--data_path=nowhere",), "nowhere.*no such file or folder"),
        (("--data_path=empty",), "nobody with keypoints"),
        (
            (f"--cfg={DEFAULT_CFG}", "--skeleton=coco"),
            "good.onnx: is another network .* for each of 17 keypoints",
        ),
        (("--model=lambda.onnx",), "lambda.onnx: is another network "),
        (("--output_name=broken.onnx/a.onnx",), "cannot write broken.onnx/a.onnx: .*--output_name"),
        (("--calibration_people=0",), "--calibration_people=0: at least 1"),
        (("--nms=oks",), "--nms and --scores are for detected boxes"),
        (("--max_ap_drop=2",), "--max_ap_drop=2"),
        (("--percentile=3",), "--percentile=3"),
    ],
)
def test_bad_input(tmp_path, data, networks, monkeypatch, words, message):
    monkeypatch.chdir(tmp_path)
    Path("broken.onnx").write_text("no network")
    quantised_programs.export(Finder(BACKGROUND), Path("lambda.onnx"), with_lambda=True)
    (tmp_path / "empty" / "annotations").mkdir(parents=True)
    (tmp_path / "empty" / "val2017").mkdir()
    content = {"images": [], "annotations": [], "categories": [{"id": 1, "name": "person"}]}
    Path("empty/annotations/person_keypoints_val2017.json").write_text(json.dumps(content))
    with pytest.raises(UserError, match=message):
        run(monkeypatch, data, networks / "good.onnx", "--output_name=out.onnx", *words)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["broken.onnx", "empty", "lambda.onnx"]


def test_a_missing_package_and_a_file_that_is_quantised_already(tmp_path, data, networks, monkeypatch):
    target = tmp_path / "a.onnx"
    run(monkeypatch, data, networks / "good.onnx", f"--output_name={target}")
    with pytest.raises(UserError, match="is quantised already; give the float32 network"):
        run(monkeypatch, data, target, f"--output_name={tmp_path / 'b.onnx'}")
    monkeypatch.setitem(sys.modules, "onnxruntime.quantization", None)
    with pytest.raises(UserError, match=r"pip install 'pose-zoo\[infer\]'"):
        run(monkeypatch, data, networks / "good.onnx", f"--output_name={tmp_path / 'b.onnx'}")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.json", "a.onnx"]


def test_a_full_disk_leaves_the_older_files(tmp_path, data, networks, monkeypatch):
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    (tmp_path / "a.onnx").write_text("the older one")
    monkeypatch.setattr(quantization.os, "replace", full)
    with pytest.raises(UserError, match="cannot write .*a.onnx: No space left on device; name another file"):
        run(monkeypatch, data, networks / "good.onnx", f"--output_name={tmp_path / 'a.onnx'}")
    assert [path.read_text() for path in tmp_path.iterdir()] == ["the older one"]
