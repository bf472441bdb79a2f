# SPDX-License-Identifier: Apache-2.0
"""Published weights by name: the right file or one line, from a server that cuts, errs, sleeps or sends others."""

import functools
import hashlib
import http.server
import json
import threading
import time
from pathlib import Path

import AlphaPose.weights
import Lightweight_OpenPose.weights
import MIPNet.weights
import OpenPose_MindSpore_port.weights
from common.test.programs import complaint, module
from common.topdown.resnet import BasicBlock, ResNet
from common.train import checkpoint, published
from common.train.checkpoint import CheckpointError
from common.train.published import IMAGENET, Published, locate

import pytest
import torch

LARGE = 300_000  # bytes: more than a socket holds


class Answer(http.server.BaseHTTPRequestHandler):
    """/html: a page; /torn: without the end; /cut: a third at a time; /slow: after 3 s; /absent: 404; else a file.

    It is cut at byte `until`.
    """

    content, ranges, ignores_ranges, until = b"", [], False, None

    def do_GET(self) -> None:
        begin = 0
        if "Range" in self.headers:
            Answer.ranges.append(self.headers["Range"])
            begin = 0 if self.ignores_ranges else int(self.headers["Range"].removeprefix("bytes=").removesuffix("-"))
        rest = b"\n<html>sign in</html>" if "html" in self.path else self.content[begin:]
        if "torn" in self.path:
            rest = self.content[:-100] + bytes(100)
        self.send_response(404 if "absent" in self.path else 206 if begin else 200)
        self.send_header("Content-Length", str(len(rest)))
        self.send_header("ETag", str(len(self.content)))
        self.end_headers()
        if "slow" in self.path:
            time.sleep(3)
        end = len(self.content) // 3 + 1 if "cut" in self.path else None
        self.wfile.write(rest[:end] if self.until is None else self.content[begin : self.until])

    def log_message(self, *_: object) -> None:
        """Says nothing."""


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("POSE_ZOO_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("POSE_ZOO_MIRROR", raising=False)
    monkeypatch.setattr(Answer, "ranges", [])
    return tmp_path / "home" / "weights"


@pytest.fixture
def server(tmp_path: Path):
    torch.save({"weight": torch.rand(LARGE // 4)}, tmp_path / "source.pth")
    Answer.content = (tmp_path / "source.pth").read_bytes()
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Answer) as server:
        server.daemon_threads, server.block_on_close = True, False
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


@pytest.fixture
def entry(monkeypatch: pytest.MonkeyPatch):
    """Makes `net.pth` a published file of AlphaPose."""

    def make(*urls: str, name: str = "net.pth", **more) -> Published:
        one = Published(name, "AlphaPose", urls, page="https://example.org/zoo", **more)
        monkeypatch.setattr(published, "table", lambda: {name: one})
        return one

    return make


def found(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir()] if folder.is_dir() else []


def test_a_file_comes_from_the_first_address_that_has_it(server, entry, home, tmp_path):
    digest = hashlib.sha256(Answer.content).hexdigest()
    entry(f"{server}/absent/net.pth", f"{server}/html/net.pth", f"{server}/net.pth", sha256=digest)
    assert locate("models/net.pth", "AlphaPose", (tmp_path,)) == home / "net.pth"
    assert (home / "net.pth").read_bytes() == Answer.content and found(home) == ["net.pth"]
    assert not Answer.ranges


@pytest.mark.parametrize("ignores_ranges", [False, True])
def test_a_cut_download_goes_on(server, entry, home, monkeypatch, ignores_ranges):
    """A server that sends a third at a time; one that knows no ranges begins anew, and at last sends all."""
    monkeypatch.setattr(Answer, "ignores_ranges", ignores_ranges)
    entry(f"{server}/cut/net.pth")
    if ignores_ranges:
        with pytest.raises(CheckpointError, match="broken off: [0-9]+ bytes came of"):
            locate("net.pth", "AlphaPose", ())
        assert [name.endswith(".part") for name in found(home)] == [True]
    else:
        locate("net.pth", "AlphaPose", ())
        assert (home / "net.pth").read_bytes() == Answer.content and len(Answer.ranges) >= 2
        assert found(home) == ["net.pth"]


def test_the_next_run_goes_on_where_a_cut_one_stopped(server, entry, home, monkeypatch):
    entry(f"{server}/net.pth")
    monkeypatch.setattr(Answer, "until", 1000)
    with pytest.raises(CheckpointError, match=r"net.pth is not here and cannot be downloaded .*broken off: 1000 bytes"):
        locate("net.pth", "AlphaPose", ())
    (part,) = home.iterdir()
    assert part.name.startswith(".net.pth.") and part.stat().st_size == 1000
    Answer.ranges.clear()
    monkeypatch.setattr(Answer, "until", None)
    locate("net.pth", "AlphaPose", ())
    assert Answer.ranges == ["bytes=1000-"] and found(home) == ["net.pth"]
    assert (home / "net.pth").read_bytes() == Answer.content


@pytest.mark.parametrize(
    ("path", "more", "words"),
    [
        ("html/net.pth", {}, "web page"),
        ("net.pth", {"sha256": "00ab"}, "its SHA-256 begins with [0-9a-f]{4}, published is 00ab"),
        ("net.pth", {"least_bytes": 10**6}, "cut short or another file: [0-9]+ bytes, its weights alone have 1000000"),
        ("torn/net.pth", {}, "cut short or another file: [0-9]+ bytes"),
        ("absent/net.pth", {}, "404"),
    ],
)
def test_another_file_is_not_kept(server, entry, home, tmp_path, path, more, words):
    entry(f"{server}/{path}", **more)
    with pytest.raises(
        CheckpointError, match=f"net.pth is not here .*{words}.*take it from https://example.org/zoo and"
    ):
        locate("net.pth", "AlphaPose", (tmp_path / "weights",))
    assert not found(home)


def test_a_page_is_no_file_of_mindspore(server, entry, home):
    entry(f"{server}/html/net.ckpt", name="net.ckpt")
    with pytest.raises(CheckpointError, match="web page"):
        locate("net.ckpt", "AlphaPose", ())


def test_a_server_that_sleeps(server, entry, home, monkeypatch):
    monkeypatch.setattr(published, "TIMEOUT_S", 0.5)
    entry(f"{server}/slow/net.pth")
    with pytest.raises(CheckpointError, match="broken off: 0 bytes came of"):
        locate("net.pth", "AlphaPose", ())


def test_nobody_there(entry, tmp_path):
    entry("http://127.0.0.1:9/net.pth")  # nothing listens on this port
    with pytest.raises(CheckpointError, match=r"net.pth is not here and cannot be downloaded .*refused.*weights$"):
        locate("net.pth", "AlphaPose", (tmp_path / "weights",))
    entry()
    with pytest.raises(CheckpointError, match=r"\(no program can fetch it\): take it from https://example.org/zoo"):
        locate("net.pth", "AlphaPose", (tmp_path / "weights",))


def test_a_mirror_folder_is_all_that_is_asked(server, entry, tmp_path, home, monkeypatch):
    monkeypatch.setenv("POSE_ZOO_MIRROR", str(tmp_path / "mirror"))
    entry(f"{server}/net.pth")
    with pytest.raises(CheckpointError, match="not in POSE_ZOO_MIRROR=.*mirror"):
        locate("net.pth", "AlphaPose", ())
    (tmp_path / "mirror").mkdir()
    (tmp_path / "mirror" / "net.pth").write_bytes(Answer.content)
    assert locate("net.pth", "AlphaPose", ()) == tmp_path / "mirror" / "net.pth"
    (tmp_path / "mirror" / "net.pth").write_bytes(b"<!DOCTYPE html>")
    with pytest.raises(
        CheckpointError, match=r"net.pth: not a checkpoint but something else.*remove it, and fetch http"
    ):
        locate("net.pth", "AlphaPose", ())
    assert not found(home)


def test_a_mirror_address_takes_the_place_of_all_others(server, entry, home, monkeypatch):
    monkeypatch.setenv("POSE_ZOO_MIRROR", f"{server}/")
    entry("http://127.0.0.1:9/net.pth")
    assert locate("net.pth", "AlphaPose", ()) == home / "net.pth"


def test_a_table_of_the_mirror_adds_to_ours(tmp_path, monkeypatch):
    monkeypatch.setenv("POSE_ZOO_MIRROR", str(tmp_path))
    torch.save({}, tmp_path / "ours.pth")
    (tmp_path / "weights.json").write_text(json.dumps({"ours.pth": {"network": "AlphaPose"}}))
    assert locate("ours.pth", "AlphaPose", ()) == tmp_path / "ours.pth"
    assert "fast_res50_256x192.pth" in published.table()
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "weights.json").write_text(json.dumps({"ours.pth": {"size": 3}}))
    monkeypatch.setenv("POSE_ZOO_MIRROR", str(tmp_path / "other"))
    with pytest.raises(CheckpointError, match="weights.json: not a table of weights like common/weights.json"):
        published.table()


def test_the_table() -> None:
    table = published.table()
    trunks = {*AlphaPose.weights.RESNETS.values(), AlphaPose.weights.HRNET}
    assert trunks <= {name for name, one in table.items() if one.network == IMAGENET}
    for name, one in table.items():
        assert one.network in (IMAGENET, *ZOO) and one.licence and one.training_data
        assert all(url.startswith("https://") for url in (*one.urls, one.page) if url)
        assert one.sha256 or one.least_bytes
        if one.sha256:
            assert name.endswith(f"-{one.sha256}.pth") and one.urls[0].endswith(f"/{name}")
        assert (one.ap is None) == (not one.protocol) == (not one.tolerance)


ZOO = {
    "Lightweight_OpenPose": Lightweight_OpenPose.weights,
    "OpenPose_MindSpore_port": OpenPose_MindSpore_port.weights,
    "AlphaPose": AlphaPose.weights,
    "MIPNet": MIPNet.weights,
}


@pytest.mark.parametrize("network", list(ZOO))
def test_every_directory_knows_its_files_by_name(network: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("POSE_ZOO_MIRROR", str(tmp_path))
    names = [name for name, one in published.table().items() if one.network == network]
    assert names
    (tmp_path / names[0]).write_bytes(b"PK\x03\x04")
    with pytest.raises(CheckpointError, match=f"{names[0]}: cut short or another file: 4 bytes"):
        ZOO[network].locate_checkpoint(f"./{names[0]}")
    other = next(name for name, one in published.table().items() if one.network not in (network, IMAGENET))
    with pytest.raises(
        CheckpointError, match=f"no such checkpoint: that is a file of .*, and not one of .*{names[-1]}"
    ):
        ZOO[network].locate_checkpoint(other)
    with pytest.raises(CheckpointError, match="absent.pth: no such checkpoint, and not one of the published"):
        ZOO[network].locate_checkpoint("absent.pth")


def test_the_program(tmp_path: Path, home: Path, server: str) -> None:
    (tmp_path / "mirror").mkdir()
    digest = hashlib.sha256(Answer.content).hexdigest()
    own = {"ours.pth": {"network": "MIPNet", "urls": [], "sha256": digest[:8], "ap": 0.5, "protocol": "drawn people"}}
    (tmp_path / "mirror" / "weights.json").write_text(json.dumps(own))
    (tmp_path / "mirror" / "ours.pth").write_bytes(Answer.content)
    variables = {"POSE_ZOO_MIRROR": str(tmp_path / "mirror"), "POSE_ZOO_HOME": str(tmp_path / "home")}
    run = functools.partial(module, "tools.weights", cwd=tmp_path, **variables)
    listed = run("list").stdout
    assert "ours.pth" in listed and "0.500" in listed and listed.count("\n") == len(published.table()) + 2
    assert run("fetch", "ours.pth").stdout == f"{tmp_path / 'mirror' / 'ours.pth'}\n"
    home.mkdir(parents=True)
    checkpoint.save(home / "ours.pth", {})
    checked = run("verify", "ours.pth")
    assert checked.returncode == 1 and checked.stdout.startswith(f"wrong  {home / 'ours.pth'}: its SHA-256 begins with")
    (home / "ours.pth").write_bytes(Answer.content)
    checked = run("verify")
    assert checked.returncode == 0 and f"ok     {home / 'ours.pth'} (sum)" in checked.stdout
    for words in ((), ("fetch",), ("remove", "ours.pth")):
        assert "type python -m tools.weights list | fetch NAME" in complaint(run(*words))
    assert "x.pth: not one of the published checkpoint_iter_370000.pth, " in complaint(run("fetch", "x.pth"))
    assert "not in POSE_ZOO_MIRROR" in complaint(run("fetch", "resnet18-f37072fd.pth"))


def test_a_backbone_takes_its_own_depth_only() -> None:
    def trunk(counts: tuple[int, ...]) -> ResNet:
        return ResNet((BasicBlock,) * 4, counts, 8)

    source, path = trunk((2, 1, 1, 1)).state_dict() | {"fc.weight": torch.zeros(2)}, Path("file.pth")
    assert "1 unused (fc.weight)" in str(published.load_backbone(trunk((2, 1, 1, 1)), source, path, own=r"$."))
    for counts in ((1, 1, 1, 1), (2, 2, 1, 1)):
        with pytest.raises(CheckpointError, match="file.pth: weights of another network, depth or width"):
            published.load_backbone(trunk(counts), source, path, own=r"$.")
