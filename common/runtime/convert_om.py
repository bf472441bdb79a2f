# SPDX-License-Identifier: Apache-2.0
"""An .onnx -> an .om for an Ascend chip: ATC's arguments from the file's metadata, and the relevant line of its errors.

See convert_om.sh next to this file, which sources CANN's environment first.
"""

import json
import re
import shlex
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from common.cli import UserError, flag, parse, run
from common.files import write_atomically
from common.runtime import metadata
from common.runtime.session import Port

NPU_NAME = re.compile(r"^\|\s*\d+\s+(310\w*|910\w*|Ascend\w+)\s", re.MULTILINE)  # in the table of npu-smi
REASONS = (r"^E[0-9A-Z]{4,6}:.*", r"^.*\bReason:.*", r"^.*(?:ERROR|[Ee]rror|failed).*")  # of ATC, the best first
AIPP = """aipp_op {{
  aipp_mode: static
  input_format: RGB888_U8
  csc_switch: false
  rbuv_swap_switch: {swap}
{size}{channels}}}
"""


@dataclass(frozen=True)
class Config:
    """Converts an exported network with ATC."""

    model: str = flag("the network, .onnx", "")
    output: str = flag("file to write, with or without .om; empty: the model's name with _bs<batch_size>", "")
    batch_size: tuple[int, ...] = flag("items at once, several as 1,4,16; where the file leaves it free", (1,), least=1)
    image_size: tuple[str, ...] = flag("HEIGHTxWIDTH, several by comma; where the file leaves it free", ())
    aipp: Literal["none", "BGR", "RGB"] = flag(
        "8-bit pixels of this order as input: ATC builds the arithmetic in", "none"
    )
    precision_mode: str = flag("ATC's precision mode, such as force_fp32; empty: its default", "")
    soc_version: str = flag("the chip, such as Ascend310P3; empty: that of npu-smi", "")


def main() -> None:
    """Converts, or prints the command where ATC is missing."""
    config = parse(Config, {}, retired=dict.fromkeys(("height", "width"), "the file says it, or --image_size=368x640"))
    model = Path(config.model)
    if not model.is_file():
        raise UserError(f"--model={config.model}: no such file; the export program of the model's directory writes it")
    usual = f"{model.with_suffix('')}_bs{'_'.join(map(str, config.batch_size))}"
    output = Path(config.output.removesuffix(".om") or usual)
    about, ports = metadata.read(model), metadata.ports_of(metadata.load_onnx(model).graph.input)
    with tempfile.TemporaryDirectory() as folder:
        aipp = Path(folder) / "aipp.cfg"
        words = command(config, ports, output, aipp)
        if config.aipp != "none":
            aipp.write_text(aipp_of(config, about, ports))
        if not shutil.which("atc"):
            print(shlex.join(words), *([aipp.read_text()] if aipp.is_file() else []), sep="\n", flush=True)  # noqa: T201
            raise UserError("no atc on PATH: install CANN and source its set_env.sh (or set ASCEND_HOME)")
        convert(words, output)
    if about:
        made = {name: getattr(config, name) for name in ("batch_size", "image_size", "aipp", "precision_mode")}
        write_atomically(output.with_suffix(".json"), (json.dumps(about | {"om": made}, indent=1) + "\n").encode())
    print(f"{output}.om: {' '.join(words[4:])}")  # noqa: T201


def command(config: Config, ports: Sequence[Port], output: Path, aipp: Path) -> list[str]:
    """The arguments of ATC. Raises UserError where flags and file do not fit."""
    batches, sizes = config.batch_size, sizes_of(config, ports)
    fixed, batch_words = ports[0].shape[0], ",".join(map(str, batches))
    if fixed and batches != (fixed,):
        raise UserError(f"--batch_size={batch_words}: the file takes {fixed} at once; export it with --batch_size=0")
    if len(batches) > 1 and len(sizes) > 1:
        raise UserError("ATC takes several values of --batch_size or of --image_size, not of both")
    batch = -1 if len(batches) > 1 else batches[0]
    size = (-1, -1) if len(sizes) > 1 else sizes[0]
    lengths = [(batch, ports[0].shape[1], *size), *((batch, *port.shape[1:]) for port in ports[1:])]
    shapes = [f"{port.name}:{','.join(map(str, shape))}" for port, shape in zip(ports, lengths, strict=True)]
    flags = {
        "framework": 5,
        "model": config.model,
        "output": output,
        "input_format": "NCHW",
        "input_shape": ";".join(shapes),
        "dynamic_batch_size": batch_words if len(batches) > 1 else "",
        "dynamic_image_size": ";".join(f"{height},{width}" for height, width in sizes) if len(sizes) > 1 else "",
        "insert_op_conf": aipp if config.aipp != "none" else "",
        "precision_mode": config.precision_mode,
        "log": "error",
        "soc_version": config.soc_version or soc_version(),
    }
    return ["atc", *(f"--{name}={value}" for name, value in flags.items() if value)]


def sizes_of(config: Config, ports: Sequence[Port]) -> list[tuple[int, int]]:
    """(height, width) of the input, one or several; the file's own where it fixes them. Raises UserError."""
    if not ports or len(ports[0].shape) != metadata.IMAGE_AXES:
        raise UserError(f"{config.model}: takes no images: not a network of this project")
    height, width = ports[0].shape[2:]
    words = [text for text in config.image_size if re.fullmatch(r"[1-9]\d{0,4}x[1-9]\d{0,4}", text)]
    asked = [(int(high), int(wide)) for high, wide in (text.split("x") for text in words)]
    if len(asked) < len(config.image_size) or (height is None or width is None) > bool(asked):
        raise UserError(f"--image_size={','.join(config.image_size)}: HEIGHTxWIDTH, such as 368x640, is needed")
    for size in asked:
        if (height or size[0], width or size[1]) != size:
            raise UserError(f"--image_size={size[0]}x{size[1]}: the file takes {height or 'any'} x {width or 'any'}")
    return asked or [(int(height or 0), int(width or 0))]


def aipp_of(config: Config, about: metadata.Metadata, ports: Sequence[Port]) -> str:
    """The conversion of 8-bit pixels to inputs. Raises UserError if the file does not have it."""
    rule: dict[str, Any] = about.get("input", {})
    if not {"colours", "mean", "scale"} <= rule.keys():
        raise UserError(f"--aipp: {config.model} does not say how pixels become its input: export it again")
    (height, width), *more = sizes_of(config, ports)
    size = "" if more else f"  src_image_size_w: {width}\n  src_image_size_h: {height}\n"
    pairs = enumerate(zip(rule["mean"], rule["scale"], strict=True))
    channels = "".join(f"  min_chn_{i}: {mean:.9g}\n  var_reci_chn_{i}: {scale:.9g}\n" for i, (mean, scale) in pairs)
    return AIPP.format(swap=str(rule["colours"] != config.aipp).lower(), size=size, channels=channels)


def soc_version() -> str:
    """The chip by npu-smi. Raises UserError if it is unknown."""
    is_there = shutil.which("npu-smi")
    table = subprocess.run(["npu-smi", "info"], capture_output=True, text=True).stdout if is_there else ""
    if not (found := NPU_NAME.search(table)):
        raise UserError("--soc_version is needed, such as Ascend310P3: npu-smi does not say which chip is here")
    return f"Ascend{found[1].removeprefix('Ascend')}"


def convert(words: list[str], output: Path) -> None:
    """Runs ATC. Raises UserError, with its reason, if it leaves no new file; an older one stays."""
    output.parent.mkdir(parents=True, exist_ok=True)
    target, log = output.with_name(f"{output.name}.om"), output.with_name(f"{output.name}.atc.log")
    before = target.stat().st_mtime_ns if target.is_file() else None
    done = subprocess.run(words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace")
    if done.returncode or not target.is_file() or target.stat().st_mtime_ns == before:
        write_atomically(log, done.stdout.encode())
        lines = [line for pattern in REASONS for line in re.findall(pattern, done.stdout, re.MULTILINE)]
        reason = [*lines, *done.stdout.strip().splitlines()[-1:], "it printed nothing"][0].strip()
        raise UserError(f"atc did not write {target}: {reason} (all of its output: {log})")


if __name__ == "__main__":
    run(main)
