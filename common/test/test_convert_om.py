# SPDX-License-Identifier: Apache-2.0
"""ATC's words for the networks of all five directories, with a stand-in for ATC and npu-smi on PATH."""

import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

from common.cli import UserError
from common.runtime import convert_om
from common.test.programs import ROOT

import pytest

onnx = pytest.importorskip("onnx")

SYSTEM_PATH = "/usr/bin:/bin"  # without the vendors' tools
WRITES_OM = 'for word in "$@"; do case $word in --output=*) echo om >"${word#*=}.om" ;; esac; done'
SMI = "echo '| NPU  Name      | Health |'; echo '| 0     310P3     | OK     | 12.8 |'"
RULE = {"input": {"colours": "RGB", "mean": [123.675, 116.28, 103.53], "scale": [0.0171, 0.0175, 0.0174]}}
LAMBDA = {"images": (0, 3, 384, 288), "lambdas": (0, 2)}
INPUTS = {  # as exported
    "Lightweight_OpenPose": {"data": (0, 3, 0, 0)},
    "OpenPose_infer": {"data": (0, 3, 368, 640)},
    "OpenPose_MindSpore_port": {"images": (1, 3, 368, 656)},
    "AlphaPose, published names": {"preact.conv1": (32, 3, 256, 192)},
    "MIPNet": {"images": (0, 3, 384, 288)},
    "MIPNet with lambda": LAMBDA,
}
ASKED = """
Lightweight_OpenPose | --image_size=256x456,368x640 | data:1,3,-1,-1 --dynamic_image_size=256,456;368,640
OpenPose_infer | --batch_size=16 | data:16,3,368,640
OpenPose_MindSpore_port | --precision_mode=force_fp32 | images:1,3,368,656 --precision_mode=force_fp32
AlphaPose, published names | --batch_size=32 | preact.conv1:32,3,256,192
MIPNet | --batch_size=1,8,32 | images:-1,3,384,288 --dynamic_batch_size=1,8,32
MIPNet with lambda | --batch_size=4 | images:4,3,384,288;lambdas:4,2
""".strip().splitlines()  # network | flags | the shape and more that ATC gets


def network(path: Path, inputs: dict[str, tuple[int, ...]], about: dict | None = None) -> Path:
    """A file with these inputs; 0: any length."""
    kind = onnx.TensorProto.FLOAT
    shapes = {name: [n or f"free{i}" for i, n in enumerate(shape)] for name, shape in inputs.items()}
    ports = [onnx.helper.make_tensor_value_info(name, kind, shape) for name, shape in shapes.items()]
    out = onnx.helper.make_tensor_value_info("maps", kind, None)
    node = onnx.helper.make_node("Identity", [next(iter(inputs))], ["maps"])
    model = onnx.helper.make_model(onnx.helper.make_graph([node], "small", ports, [out]))
    onnx.helper.set_model_props(model, {key: json.dumps(value) for key, value in (about or {}).items()})
    onnx.save(model, path)
    return path


def tool(folder: Path, name: str, body: str) -> None:
    """A stand-in that writes its words, one a line, to `<name>.log` in the current folder, then runs `body`."""
    folder.mkdir(exist_ok=True)
    (folder / name).write_text(f'#!/usr/bin/env bash\nprintf "%s\\n" "$@" >>{name}.log\n{body}\n')
    (folder / name).chmod(0o755)


def convert(
    folder: Path, *flags: str, script: str = "common/runtime/convert_om.sh"
) -> "subprocess.CompletedProcess[str]":
    places = {"PATH": f"{folder / 'tools'}:{SYSTEM_PATH}", "ASCEND_HOME": str(folder / "Ascend")}
    variables = {**os.environ, **places, "PYTHON": sys.executable}
    command = ["bash", str(ROOT / script), *flags]
    return subprocess.run(command, capture_output=True, text=True, cwd=folder, env=variables, check=False, timeout=200)


@pytest.fixture
def said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture):
    """Runs the program in this process, in an empty folder, with the tools of `tools` there; returns its lines."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PATH", f"tools:{SYSTEM_PATH}")

    def run(*flags: str, error: str) -> list[str]:
        monkeypatch.setattr(sys, "argv", ["convert_om", *flags])
        with pytest.raises(UserError, match=error):
            convert_om.main()
        return capsys.readouterr().out.splitlines()

    return run


NO_ATC = "no atc on PATH: install CANN"


@pytest.mark.parametrize("line", ASKED)
def test_what_atc_is_asked(line: str, tmp_path: Path, said) -> None:
    """Without ATC here: the command is printed, and one line says what is missing."""
    name, flags, asked = line.split("|")
    network(tmp_path / "a.onnx", INPUTS[name.strip()])
    (printed,) = said("--model=a.onnx", "--output=new/a.om", "--soc_version=Ascend910B3", *flags.split(), error=NO_ATC)
    shape, *more = asked.split()
    begin = ["atc", "--framework=5", "--model=a.onnx", "--output=new/a", "--input_format=NCHW"]
    end = ["--log=error", "--soc_version=Ascend910B3"]
    assert shlex.split(printed) == [*begin, f"--input_shape={shape}", *more, *end]
    assert not (tmp_path / "new").exists()


def test_a_conversion(tmp_path: Path) -> None:
    """CANN's environment is sourced, the chip is that of npu-smi, and the .om says what the .onnx did."""
    folder = tmp_path / "a folder"
    tool(tmp_path / "cann", "atc", WRITES_OM)
    (folder / "Ascend" / "ascend-toolkit").mkdir(parents=True)
    (folder / "Ascend" / "ascend-toolkit" / "set_env.sh").write_text(f'export PATH="{tmp_path}/cann:$PATH" A=$UNSET\n')
    tool(folder / "tools", "npu-smi", SMI)
    network(folder / "a.onnx", LAMBDA, {"pose_zoo": 1, "network": "MIPNet"})
    done = convert(folder, "--model=a.onnx", "--batch_size=1,4")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("a_bs1_4.om: --input_format=NCHW --input_shape=images:-1,3,384,288;lambdas:-1,2 ")
    assert "--soc_version=Ascend310P3" in (folder / "atc.log").read_text().splitlines()
    beside = json.loads((folder / "a_bs1_4.json").read_text())
    assert beside["network"] == "MIPNet" and beside["om"]["batch_size"] == [1, 4]


def test_8_bit_input(tmp_path: Path, said) -> None:
    network(tmp_path / "a.onnx", {"image": (0, 3, 256, 192)}, {"pose_zoo": 1, **RULE})
    words = ("--model=a.onnx", "--soc_version=Ascend310")
    shown, *config = said(*words, "--aipp=BGR", error=NO_ATC)
    assert "--insert_op_conf=" in shown and "  rbuv_swap_switch: true" in config
    assert "  src_image_size_w: 192" in config and "  src_image_size_h: 256" in config
    first = [
        config.index(f"  {line}") for line in ("min_chn_0: 123.675", "var_reci_chn_0: 0.0171", "min_chn_1: 116.28")
    ]
    assert first == sorted(first)
    assert "  rbuv_swap_switch: false" in said(*words, "--aipp=RGB", error=NO_ATC)
    network(tmp_path / "b.onnx", {"image": (0, 3, 256, 192)})
    said("--model=b.onnx", *words[1:], "--aipp=BGR", error="does not say how pixels become its input")


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (
            "echo ATC run failed; echo 'E10001: Value [x] for parameter [--input_shape] is invalid.'; exit 1",
            "E10001: Value [x]",
        ),
        ("echo start; echo '[ERROR] no such chip' >&2; exit 255", "[ERROR] no such chip"),
        ("echo ATC run success", "ATC run success"),
        ("exit 1", "it printed nothing"),
    ],
)
def test_what_atc_says_is_passed_on(tmp_path: Path, said, body: str, words: str) -> None:
    tool(tmp_path / "tools", "atc", body)
    network(tmp_path / "a.onnx", {"image": (1, 3, 256, 192)})
    (tmp_path / "a.om").write_text("older")
    error = rf"^atc did not write a.om: {re.escape(words)}.*a.atc.log\)$"
    assert not said("--model=a.onnx", "--output=a", "--soc_version=Ascend310", error=error)
    assert (tmp_path / "a.om").read_text() == "older" and not (tmp_path / "a.json").exists()


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ("--model=none.onnx", "--model=none.onnx: no such file"),
        ("--model=broken.onnx", "broken.onnx: .*export the network again"),
        (
            "--model=fixed.onnx --batch_size=2",
            "--batch_size=2: the file takes 1 at once; export it with --batch_size=0",
        ),
        ("--model=free.onnx", "--image_size=: HEIGHTxWIDTH, such as 368x640, is needed"),
        ("--model=free.onnx --image_size=368", "--image_size=368: HEIGHTxWIDTH"),
        ("--model=fixed.onnx --image_size=8x8", "--image_size=8x8: the file takes 256 x 192"),
        ("--model=free.onnx --image_size=8x8,16x16 --batch_size=1,2", "ATC takes several values of --batch_size or of"),
        ("--model=free.onnx --image_size=8x8", "--soc_version is needed, such as Ascend310P3"),
        ("--model=text.onnx", "text.onnx: takes no images"),
        ("--model=fixed.onnx --colour=red", "--colour=red"),
    ],
)
def test_mistakes_are_one_line(said, flags: str, message: str) -> None:
    network(Path("fixed.onnx"), {"image": (1, 3, 256, 192)})
    network(Path("free.onnx"), {"image": (0, 3, 0, 0)})
    network(Path("text.onnx"), {"words": (1, 128)})
    Path("broken.onnx").write_text("no network")
    said(*flags.split(), error=message)


def test_the_published_command(tmp_path: Path) -> None:
    (tmp_path / "output").mkdir()
    network(tmp_path / "output" / "human-pose-estimation.onnx", {"data": (0, 3, 368, 640)})
    done = convert(tmp_path, "--batch_size=16", "--height=368", script="OpenPose_infer/convert_om.sh")
    assert "--input_shape=data:16,3,368,640 " in done.stdout and "--soc_version=Ascend310P3" in done.stdout
    assert "--output=output/human-pose-estimation_bs16 " in done.stdout
