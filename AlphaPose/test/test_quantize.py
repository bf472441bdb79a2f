# SPDX-License-Identifier: Apache-2.0
"""INT8 that finds the same keypoints is written, with a report; INT8 that does not leaves one line and nothing else."""

import json
import sys
from pathlib import Path

from AlphaPose import eval as evaluation_program
from AlphaPose import quantize
from common.cli import UserError
from common.runtime.quantize import RETIRED
from common.test import quantised_programs
from common.test.blob_people import BlobNetwork
from common.test.quantised_programs import flags, report

import pytest

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")

BACKGROUND = 0.12


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return quantised_programs.data(tmp_path_factory.mktemp("people") / "coco")


@pytest.fixture(scope="module")
def networks(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return quantised_programs.networks(tmp_path_factory.mktemp("networks"), BACKGROUND)


def run(monkeypatch, data: Path, model: Path, *words: str) -> None:
    monkeypatch.setattr(sys, "argv", ["quantize", *flags(data, model), *words])
    quantize.main()


def test_a_network_that_finds_people_is_quantized_and_evaluated_alike(tmp_path, data, networks, monkeypatch, capfd):
    target = tmp_path / "new" / "small.onnx"
    run(monkeypatch, data, networks / "good.onnx", f"--output_name={target}", "--openvino_xml")
    said, errors = capfd.readouterr()
    assert errors == "note: --openvino_xml has no effect: " + RETIRED["openvino_xml"] + "\n"
    assert said.splitlines()[-1].startswith(f"{target}: ")
    assert f"calibration: 4 people of {data / 'annotations/person_keypoints_train2017.json'}; " in said
    assert sorted(path.name for path in target.parent.iterdir()) == ["small.json", "small.onnx"]
    onnx.checker.check_model(onnx.load(target), full_check=True)
    assert report(target)["float_layers"] == ["/final_layer/Conv"]
    facts = report(target)["protocol"]
    assert facts["boxes"] == "given" and facts["flip_test"] is False and facts["people"] == 6
    for provider, runtime in (("cpu", "ONNX Runtime"), ("openvino", "OpenVINO")):
        before, after = (report(target)[kind][runtime] for kind in ("float32", "int8"))
        assert before["ap"] > 0.9 and after["ap"] > before["ap"] - 0.002 and after["people"] == 6
        place = tmp_path / provider
        words = (f"--checkpoint={target}", f"--data_path={data}", "--device=cpu", f"--output_dir={place}")
        words += (f"--skeleton={data / 'blobs.yaml'}", f"--provider={provider}")
        monkeypatch.setattr(sys, "argv", ["eval", *words])
        evaluation_program.main()
        (metrics,) = place.glob("exp/*/eval/metrics.jsonl")
        assert json.loads(metrics.read_text().splitlines()[-1])["metrics"]["AP"] == pytest.approx(after["ap"], abs=1e-6)


def test_boxes_of_a_detector_and_mirrored_images(tmp_path, data, networks, monkeypatch):
    boxes = [{"image_id": image, "category_id": 1, "bbox": [10, 10, 70, 60], "score": 0.9} for image in (1, 2)]
    (tmp_path / "boxes.json").write_text(json.dumps(boxes))
    words = (f"--detections={tmp_path / 'boxes.json'}", "--nms=pose", "--max_ap_drop=0.05", "--flip_test")
    run(monkeypatch, data, networks / "good.onnx", f"--output_name={tmp_path / 'a.onnx'}", *words)
    facts = report(tmp_path / "a.onnx")["protocol"]
    assert facts["boxes"] == str(tmp_path / "boxes.json") and facts["nms"] == "pose" and facts["people"] == 2
    assert facts["flip_test"] is True


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--model=",), "--model is needed: the .onnx that python -m AlphaPose.export writes"),
        (("--model=a.pth",), "--model=a.pth: give an .onnx"),
        (("--model=nothing.onnx",), "nothing.onnx: no such file"),
        (("--model=broken.onnx",), "broken.onnx: .*export the network again"),
        (("--data_path=",), "--data_path is needed: a COCO folder"),
        (("--data_path=nowhere",), "nowhere.*no such file or folder"),
        (("--data_path=empty",), "its list 'images' is empty"),
        (("--skeleton=coco",), "good.onnx: no network of AlphaPose with these keypoints"),
        (("--model=lambda.onnx",), "lambda.onnx: no network of AlphaPose"),
        (("--output_name=broken.onnx/a.onnx",), "cannot write broken.onnx/a.onnx: .*--output_name"),
        (("--calibration_people=0",), "--calibration_people=0: at least 1"),
        (("--nms=oks",), "--nms and --scores are for detected boxes"),
        (("--max_ap_drop=2",), "--max_ap_drop=2"),
    ],
)
def test_bad_input(tmp_path, data, networks, monkeypatch, words, message):
    monkeypatch.chdir(tmp_path)
    Path("broken.onnx").write_text("no network")
    quantised_programs.export(BlobNetwork(BACKGROUND), Path("lambda.onnx"), with_lambda=True)
    (tmp_path / "empty" / "annotations").mkdir(parents=True)
    (tmp_path / "empty" / "val2017").mkdir()
    content = {"images": [], "annotations": [], "categories": [{"id": 1, "name": "person"}]}
    Path("empty/annotations/person_keypoints_val2017.json").write_text(json.dumps(content))
    with pytest.raises(UserError, match=message):
        run(monkeypatch, data, networks / "good.onnx", "--output_name=out.onnx", *words)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["broken.onnx", "empty", "lambda.onnx"]
