# SPDX-License-Identifier: Apache-2.0
"""HCCL's rank tables: whose ranks, on which devices, and what is wrong with a table, in one line."""

import json
from pathlib import Path
from typing import Any

import common.device
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


EIGHT = [device(number, number) for number in range(8)]
TWO_SERVERS = table(("10.0.0.2", [device(0, 2), device(1, 3)]), ("127.0.0.1", [device(4, 0), device(5, 1)]))


def test_one_server_of_eight(tmp_path: Path) -> None:
    assert rank_table.read(written(tmp_path, table(("10.0.0.1", EIGHT)))) == [Server("10.0.0.1", 0, tuple(range(8)))]


def test_devices_stand_in_the_order_of_their_ranks(tmp_path: Path) -> None:
    servers = rank_table.read(written(tmp_path, table(("10.0.0.1", [device(6, 1), device(2, 0)]))))
    assert servers[0].devices == (2, 6)
    variables = rank_table.environment(servers, 0)
    assert variables == {"ASCEND_RT_VISIBLE_DEVICES": "2,6", "CUDA_VISIBLE_DEVICES": "2,6"}


def test_two_servers_meet_at_that_of_rank_0(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NODE_RANK", raising=False)
    path = written(tmp_path, TWO_SERVERS)
    servers = rank_table.read(path)
    assert [server.server_id for server in servers] == ["127.0.0.1", "10.0.0.2"]
    assert rank_table.own(path, servers) == 0  # the address of any machine
    variables = rank_table.environment(servers, 1)
    assert (variables["NNODES"], variables["NODE_RANK"], variables["MASTER_ADDR"]) == ("2", "1", "127.0.0.1")
    monkeypatch.setenv("NODE_RANK", "1")
    assert rank_table.own(path, servers) == 1


def test_a_machine_that_is_not_in_the_table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NODE_RANK", raising=False)
    path = written(tmp_path, table(("198.51.100.1", [device(0, 0)]), ("198.51.100.2", [device(0, 1)])))
    with pytest.raises(UserError, match=r"hccl.json: no address of this machine.*NODE_RANK"):
        rank_table.own(path, rank_table.read(path))


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("rank 0 is here", "cut short or damaged at line 1"),
        ("", "cut short or damaged"),
        ("[1, 2]", "not a rank table"),
        ("null", "not a rank table"),
        ({"version": "1.0"}, "has no 'server_list'"),
        ({"server_list": []}, "every server must have the same number of devices"),
        ({"server_list": 3}, "not a rank table"),
        ({"server_list": [{"device": EIGHT}]}, "has no 'server_id'"),
        ({"server_list": [{"server_id": "a"}]}, "has no 'device'"),
        (table(("a", [])), "needs devices"),
        (table(("a", [{"device_id": "0"}])), "has no 'rank_id'"),
        (table(("a", [device(0, 0), device(1, 0)])), "rank 0 or device 1 twice"),
        (table(("a", [device(3, 0), device(3, 1)])), "rank 1 or device 3 twice"),
        (table(("a", [device(0, 0), device(1, 2)])), "ranks in a row"),
        (table(("a", [device(0, 1), device(1, 2)])), "from 0 without gaps"),
        (table(("a", [device(0, 0)]), ("b", [device(0, 0)])), "from 0 without gaps"),
        (table(("a", [device(0, 0)]), ("b", [device(0, 1), device(1, 2)])), "the same number of devices"),
        (table(("a", [{"device_id": "first", "rank_id": "0"}])), "not a rank table"),
        (table(("a", [device(-1, 0)])), "device -1, they count from 0"),
        (table(("a", [{"device_id": "0", "rank_id": 0.5}])), "'0.5' is no whole number"),
        ("[" * 100_000, "lists within lists"),
    ],
)
def test_what_is_wrong_is_said_in_one_line(tmp_path: Path, content: object, words: str) -> None:
    path = written(tmp_path, content)
    with pytest.raises(UserError, match=words) as caught:
        rank_table.read(path)
    assert str(path) in str(caught.value) and "\n" not in str(caught.value)


def test_no_table(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"absent.json: No such file"):
        rank_table.read(tmp_path / "absent.json")


@pytest.mark.parametrize(
    ("kind", "there", "devices", "words"),
    [
        ("npu", 8, (0, 8), "8 npu devices .device 8 is too many"),
        ("cuda", 1, (0, 1), "1 cuda devices .device 1 is too many"),
        ("cpu", 0, tuple(range(4096)), "no accelerator"),
    ],
)
def test_more_devices_than_there_are(
    monkeypatch: pytest.MonkeyPatch, kind: str, there: int, devices: tuple[int, ...], words: str
) -> None:
    monkeypatch.setattr(common.device, "count", lambda asked: there if asked == kind else 0)
    with pytest.raises(UserError, match=f"table.json: names {len(devices)} devices, this machine has .*{words}"):
        rank_table.check_devices(Path("table.json"), Server("a", 0, devices))
    rank_table.check_devices(Path("table.json"), Server("a", 0, devices[:1]))


def test_a_table_of_one_ascend_server_runs_on_a_machine_without_accelerators(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(common.device, "count", lambda kind: 0)
    rank_table.check_devices(Path("table.json"), Server("a", 0, tuple(range(8))))
