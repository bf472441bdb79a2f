# SPDX-License-Identifier: Apache-2.0
"""Writes checkpoints with our writer and has the real MindSpore read them, in an environment of its own.

    python3.11 -m venv /tmp/mindspore && /tmp/mindspore/bin/pip install mindspore==2.10.0
    python -m OpenPose_MindSpore_port.test.check_real_mindspore --mindspore=/tmp/mindspore/bin/python

Every tensor is compared: value, type and shape. Prints a table; exit code 1 where one differs.
"""

import json
import platform
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest import mock

from common import cli
from common.skeleton import OPENPOSE
from OpenPose_MindSpore_port import convert
from OpenPose_MindSpore_port import mindspore_checkpoint as checkpoint
from OpenPose_MindSpore_port.model import OpenPose
from OpenPose_MindSpore_port.test.bench_checkpoint import training_checkpoint

import numpy as np
import torch
from torch import Tensor

READER = Path(__file__).with_name("real_mindspore_reader.py")
SMALL_PIECE = 100  # bytes: cuts elements of 8 in two
DAMAGED = "damaged_crc.ckpt"  # MindSpore has to refuse this one


@dataclass(frozen=True)
class Config:
    """Check that the real MindSpore reads what we write."""

    mindspore: str = cli.flag("Python of an environment with mindspore (required)", "")


def every_kind() -> dict[str, Tensor | str]:
    """All data types, scalars, texts, names that are not ASCII, and views that are not contiguous."""
    torch.manual_seed(0)
    entries: dict[str, Tensor | str] = {
        f"t.{kind}": (100 * torch.rand(5, 3)).to(dtype) for kind, dtype in checkpoint.KINDS.items()
    }
    scalars = {f"s.{kind}": torch.tensor(1).to(dtype) for kind, dtype in checkpoint.KINDS.items()}
    plane = torch.randn(40, 60)
    views = {"transposed": plane.T, "stepped": plane[::2, 1::2], "名字.unicode": torch.ones(3), "one": torch.ones(1)}
    return {**entries, **scalars, **views, "text": "hello-世界"}


def write_cases(folder: Path) -> dict[str, dict[str, Any]]:
    """The files, and the arguments that MindSpore's load_checkpoint needs for each."""
    torch.manual_seed(0)
    network = OpenPose(OPENPOSE.num_heatmaps, OPENPOSE.num_fields).state_dict()
    kinds = every_kind()
    cases: dict[str, dict[str, Any]] = {}

    def case(name: str, entries: Mapping[str, Any], arguments: dict[str, Any] | None = None, **how: Any) -> None:
        cases[f"{name}.ckpt"] = arguments or {}
        checkpoint.write(folder / f"{name}.ckpt", entries, **how)
        _save_expected(folder / f"{name}.npz", entries)

    case("every_kind", kinds)
    case("every_kind_crc", kinds, {"crc_check": True}, crc=True)
    case("network", network)
    case("every_kind_crc_plain", kinds, crc=True)
    case("network_crc", network, {"crc_check": True}, crc=True)
    case("training", training_checkpoint(), summed=True)
    case("training_checked", training_checkpoint(), {"crc_check": True}, summed=True)
    with mock.patch.object(checkpoint, "PIECE_BYTES", SMALL_PIECE):
        case("pieces", kinds)
    damaged = bytearray((folder / "every_kind_crc.ckpt").read_bytes())
    damaged[len(damaged) // 2] ^= 1
    (folder / DAMAGED).write_bytes(damaged)
    _save_expected((folder / DAMAGED).with_suffix(".npz"), kinds)
    cases[DAMAGED] = {"crc_check": True}
    # MindSpore 2.10 reads bfloat16 from its own format alone
    tensors = {name: value for name, value in kinds.items() if isinstance(value, Tensor) and "BFloat16" not in name}
    cases["converted.safetensors"] = {"format": "safetensors"}
    convert.write(folder / "converted.safetensors", tensors)
    _save_expected(folder / "converted.npz", tensors)
    return cases


def _save_expected(path: Path, entries: Mapping[str, Any]) -> None:
    arrays = {}
    for name, value in entries.items():
        tensor = value.float() if isinstance(value, Tensor) and value.dtype == torch.bfloat16 else value
        arrays[name] = tensor.numpy() if isinstance(tensor, Tensor) else np.array(tensor)
    np.savez(path, **arrays)


def main(argv: list[str] | None = None) -> None:
    """Writes, reads, compares, prints."""
    config = cli.parse(Config, {}, argv)
    if not config.mindspore:
        raise cli.UserError("--mindspore is required: the Python of an environment with mindspore")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        cases = write_cases(folder)
        (folder / "cases.json").write_text(json.dumps(cases))
        result = subprocess.run([config.mindspore, READER, folder], capture_output=True, text=True)
        if result.returncode:
            raise cli.UserError(f"{config.mindspore} {READER.name}: {result.stderr.strip().splitlines()[-1]}")
        found = json.loads(result.stdout.strip().splitlines()[-1])
        print(_table(folder, cases, found))
    sys.exit(0 if all(bool(problems) == (file == DAMAGED) for file, problems in found["answer"].items()) else 1)


def _table(folder: Path, cases: Mapping[str, dict[str, Any]], found: dict[str, Any]) -> str:
    lines = [
        f"MindSpore {found['version']} on Python {found['python']}; written with Python {platform.python_version()}, "
        f"torch {torch.__version__}",
        "",
        "| file | bytes | entries | load_checkpoint with | result |",
        "|---|---|---|---|---|",
    ]
    for name, arguments in cases.items():
        with np.load((folder / name).with_suffix(".npz")) as stored:
            count = len(stored.files)
        problems = found["answer"][name]
        result = "; ".join(problems[:5]).replace("\n", " ") if problems else "every entry equal"
        shown = ", ".join(arguments) or "nothing more"
        lines.append(f"| {name} | {(folder / name).stat().st_size} | {count} | {shown} | {result} |")
    return "\n".join(lines)


if __name__ == "__main__":
    cli.run(main)
