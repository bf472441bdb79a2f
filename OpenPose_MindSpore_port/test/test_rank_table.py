# SPDX-License-Identifier: Apache-2.0
"""HCCL's rank tables: whose ranks, on which devices, and what is wrong with a table, in one line."""

import json
from pathlib import Path
from typing import Any

from common.cli import UserError
from OpenPose_MindSpore_port import rank_table
from OpenPose_MindSpore_port.rank_table import Server

import pytest


def device(number: int, rank: int) -> dict[str, str]:
    return {"device_id": str(number), "device_ip": "192.1.27.6", "rank_id": str(rank)}


def table(*servers: tuple[str, list[dict[str, Any]]]) -> dict[str, Any]:
    """As hccl_tools.py writes it."""
    entries = [{"server_id": name, "device": devices, "host_nic_ip": "reserve"} for name, devices in servers]
    return {"version": "1.0", "server_count": str(len(entries)), "server_list": entries, "status": "completed"}


def written(folder: Path, content: object) -> Path:
    path = folder / "hccl.json"
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return path


def test_devices_stand_in_the_order_of_their_ranks(tmp_path: Path) -> None:
    path = written(tmp_path, table(("10.0.0.1", [device(6, 1), device(2, 0)])))
    servers = rank_table.read(path)
    assert servers == [Server((0, 1), (2, 6), "10.0.0.1")]
    variables = rank_table.environment(path, servers, 0)
    assert variables == {"ASCEND_RT_VISIBLE_DEVICES": "2,6", "CUDA_VISIBLE_DEVICES": "2,6"}


def test_two_servers_meet_at_that_of_rank_0(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    entries = ("198.51.100.2", [device(0, 2), device(1, 3)]), ("198.51.100.1", [device(4, 0), device(5, 1)])
    path = written(tmp_path, table(*entries))
    servers = rank_table.read(path)
    assert [server.address for server in servers] == ["198.51.100.1", "198.51.100.2"]
    variables = rank_table.environment(path, servers, 1)
    assert (variables["NNODES"], variables["NODE_RANK"], variables["MASTER_ADDR"]) == ("2", "1", "198.51.100.1")
    for stated, words in (("", "no address of 2 servers"), ("2", "none for NODE_RANK=2")):
        monkeypatch.setenv("NODE_RANK", stated) if stated else monkeypatch.delenv("NODE_RANK", raising=False)
        with pytest.raises(UserError, match=f"hccl.json: .*{words}"):
            rank_table.main([str(path), "train.sh"])
    monkeypatch.delenv("NODE_RANK", raising=False)
    servers = rank_table.read(written(tmp_path, table(entries[1], ("127.0.0.1", [device(0, 2), device(1, 3)]))))
    assert rank_table.number_of_this(path, servers) == 1  # the address of any machine


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("rank 0 is here", "cut short or damaged at line 1"),
        ("[1, 2]", "not a rank table"),
        ({"version": "1.0"}, "no 'server_list'"),
        ({"server_list": 3}, "not a rank table"),
        ({"server_list": [{"server_id": "a"}]}, "no 'device'"),
        (table(("a", [])), "no devices"),
        (table(("a", [device(0, 0), device(1, 0)])), "without gaps"),
        (table(("a", [device(3, 0), device(3, 1)])), "one twice"),
        (table(("a", [device(0, 0)]), ("b", [device(0, 1), device(1, 2)])), "as many on each server"),
        (table(("a", [device(-1, 0)])), "a negative one"),
        (table(("a", [{"device_id": "0", "rank_id": 0.5}])), "'0.5'"),
    ],
)
def test_what_is_wrong_is_said_in_one_line(tmp_path: Path, content: object, words: str) -> None:
    path = written(tmp_path, content)
    with pytest.raises(UserError, match=words) as caught:
        rank_table.read(path)
    assert str(path) in str(caught.value) and "\n" not in str(caught.value)
