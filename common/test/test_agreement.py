# SPDX-License-Identifier: Apache-2.0
"""Servers agree on code, torch, data and flags before the first step."""

import dataclasses
import importlib
from pathlib import Path
from typing import Any

import common.distributed
import common.train.store
from common.cli import UserError, settings
from common.coco.reader import load
from common.train.state import TrainFlags
from Lightweight_OpenPose.config import Config

import numpy as np
import pytest
import torch


def facts(config: Config, monkeypatch) -> dict[str, Any]:
    """What a server tells the others."""
    told: list[Any] = []
    monkeypatch.setattr(common.train.store, "agree", told.append)
    common.train.store.agree_on_recipe(config)
    return told[0]


def refusal(expected: dict[str, Any], found: dict[str, Any], monkeypatch) -> str:
    monkeypatch.setattr(common.distributed, "gather_objects", lambda own: [("node1", expected), ("node2", found)])
    monkeypatch.setenv("RANK", "1")
    with pytest.raises(UserError) as refused:
        common.train.store.agree(found)
    assert "\n" not in str(refused.value) and str(refused.value).startswith(
        "rank 1 on node2 differs from rank 0 on node1"
    )
    return str(refused.value)


def test_paths_and_readers_may_differ_and_flags_may_not(monkeypatch) -> None:
    one = facts(Config(data_path="/data/coco", output_dir="/a", num_workers=1), monkeypatch)
    assert one == facts(Config(data_path="/mnt/coco", output_dir="b", num_workers=8), monkeypatch)
    assert {"torch", "ranks", "Lightweight_OpenPose/train.py", "common/train/loop.py"} <= one.keys()
    assert one["torch"] == torch.__version__ and not any("/test/" in name or "AlphaPose" in name for name in one)
    changed = {field.name for field in dataclasses.fields(Config)} - one.keys()
    assert {"device", "data_path", "output_dir", "log_dir", "num_workers"} <= changed


@pytest.mark.parametrize("model", ["AlphaPose", "Lightweight_OpenPose", "MIPNet", "OpenPose_MindSpore_port"])
def test_what_may_change_are_settings_of_the_model(model: str) -> None:
    config = importlib.import_module(f"{model}.config").Config
    own = {name for names in (config.OF_A_SERVER, config.MAY_CHANGE) for name in names.split()}
    common_names = set(f"{TrainFlags.OF_A_SERVER} {TrainFlags.MAY_CHANGE}".split())
    assert own - common_names <= settings(config()).keys()


def test_what_differs_is_named(monkeypatch) -> None:
    one = {"torch": "2.13.0", "ranks": 16, "base_lr": "0.1", "common/cli.py": 5}
    assert "torch is 2.12.1, not 2.13.0: all servers" in refusal(one, {**one, "torch": "2.12.1"}, monkeypatch)
    assert "common/cli.py is None, not 5" in refusal(
        one, {"torch": "2.13.0", "ranks": 16, "base_lr": "0.1"}, monkeypatch
    )
    many = refusal({f"flag{n}": 0 for n in range(9)}, {f"flag{n}": 1 for n in range(9)}, monkeypatch)
    assert "flag4 is 1, not 0; flag5 is 1, not 0" in many


def test_another_annotation_is_another_data_set(tiny_coco: Path, monkeypatch) -> None:
    index, again = (load(tiny_coco / "annotations" / "person_keypoints_train2017.json") for _ in range(2))
    assert index.facts() == again.facts()
    moved = dataclasses.replace(index, keypoints=np.where(index.keypoints == index.keypoints.max(), 1, index.keypoints))
    assert "digest of the annotations is" in refusal(index.facts(), moved.facts(), monkeypatch)


def test_most_servers_are_right_and_leave_to_go_on_without_the_other(monkeypatch, capsys) -> None:
    right, wrong = {"torch": "2.13.0"}, {"torch": "2.12.1"}
    everybody = [("node1", wrong), ("node2", right), ("node3", right)]
    monkeypatch.setattr(common.distributed, "gather_objects", lambda own: everybody)
    monkeypatch.setenv("WORLD_SIZE", "3")
    monkeypatch.setenv("RANK", "1")
    with pytest.raises(SystemExit) as left:
        common.train.store.agree(right)
    said = capsys.readouterr().err
    assert left.value.code == 1 and said.startswith(
        "note: rank 0 on node1 differs from rank 1 on node2: torch is 2.12.1"
    )
    monkeypatch.setenv("RANK", "0")
    with pytest.raises(UserError, match="rank 0 on node1"):
        common.train.store.agree(wrong)
