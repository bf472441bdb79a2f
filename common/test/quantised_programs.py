# SPDX-License-Identifier: Apache-2.0
"""What the tests of the top-down programs that quantise share: data and networks of blob people, and their report."""

import json
from pathlib import Path

from common.runtime.export import Ports, export_onnx
from common.test import blob_people
from common.test.blob_people import SIZE_IN, BlobNetwork

import torch

ALL_LAYERS = (0, 1, 2)


def data(folder: Path) -> Path:
    """Training and validation images of blob people, whose hands keep their colours in a mirror."""
    blob_people.write_data(folder, splits=("train2017", "val2017"), centre=0)
    (folder / "blobs.yaml").write_text(blob_people.SKELETON.replace("[[left, right]]", "[]"))
    return folder


def networks(folder: Path, background: float, with_lambda: bool = False) -> Path:
    """`good`; `loud`, whose layers 8 bits ruin; `blind`, which finds no people."""
    for name, rules in {"good": {}, "loud": {"loud": ALL_LAYERS}, "blind": {"blind": True}}.items():
        export(BlobNetwork(background, **rules), folder / f"{name}.onnx", with_lambda)
    return folder


def export(model: torch.nn.Module, target: Path, with_lambda: bool = False) -> None:
    """Writes a network of crops, for any batch."""
    names = ["images", "lambdas"][: 1 + with_lambda]
    free = {name: {0: "batch"} for name in (*names, "heatmaps")}
    trial = (torch.rand(2, 3, *SIZE_IN), torch.tensor([[1.0, 0.0], [0.0, 1.0]]))
    export_onnx(model.eval(), target, 11, Ports(names, ["heatmaps"], free), [trial[: 1 + with_lambda]])


def flags(data: Path, model: Path) -> list[str]:
    """To quantise such a network."""
    files = [f"--model={model}", f"--data_path={data}", f"--skeleton={data / 'blobs.yaml'}"]
    return [*files, "--calibration_people=4", "--threads=1", "--num_workers=1"]


def report(target: Path) -> dict:
    """The files next to a quantised network."""
    return json.loads(target.with_suffix(".json").read_text())
