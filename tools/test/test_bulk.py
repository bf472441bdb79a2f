# SPDX-License-Identifier: Apache-2.0
"""Bulk inference: sources, shards, resumed jobs, bad input; and one real call through Ray."""

import json
import os
import resource
import subprocess
import sys
from pathlib import Path

from common import cli
from common.cli import UserError
from common.coco.images import upright_image
from common.media.source import Frame
from common.media.writers import people_line
from common.test.programs import ROOT
from tools.bulk import __main__ as bulk
from tools.models import Spec
from tools.test.small_network import alphapose

import cv2
import numpy as np
import pytest

pyarrow = pytest.importorskip("pyarrow", reason="needs the extra `bulk`")
fsspec = pytest.importorskip("fsspec")

from tools.bulk import job as jobs  # noqa: E402
from tools.bulk import results, source, worker  # noqa: E402

SIZE = 40, 30  # width, height


def image(number: int) -> np.ndarray:
    return np.random.default_rng(number).integers(0, 256, (SIZE[1], SIZE[0], 3), np.uint8)


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return alphapose(tmp_path_factory.mktemp("network"))


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    folder = tmp_path / "photos"
    (folder / "more").mkdir(parents=True)
    for number, name in enumerate(("a.png", "b.png", "more/c.png", "more/d.png", "z.png")):
        cv2.imwrite(str(folder / name), image(number))
    (folder / "words.txt").write_text("no image")
    return folder


def begin(folder: Path, network: Path, names, per_shard: int = 2, **settings) -> jobs.Job:
    return jobs.begin(folder, names, network, per_shard, {"detector": "", **settings})


def test_a_source_is_a_folder_a_list_a_table_or_a_url(photos: Path) -> None:
    expected = [str(photos / name) for name in ("a.png", "b.png", "more/c.png", "more/d.png", "z.png")]
    assert list(source.names(str(photos))) == expected
    (photos / "list.txt").write_text("\ufeffmore/c.png\n\n" + expected[0] + "\nhttps://x.org/y.jpg\n")
    assert list(source.names(str(photos / "list.txt"))) == [expected[2], expected[0], "https://x.org/y.jpg"]
    table = pyarrow.table({"size": [1, 2], "url": ["a.png", "s3://bucket/b.jpg"]})
    pyarrow.parquet.write_table(table, photos / "t.parquet")
    assert list(source.names(str(photos / "t.parquet"))) == [expected[0], "s3://bucket/b.jpg"]
    memory = fsspec.filesystem("memory")
    memory.pipe({"/bucket/x/a.png": (photos / "a.png").read_bytes(), "/bucket/list.txt": b"x/a.png\n"})
    for name in ("memory://bucket", "memory://bucket/list.txt"):
        (found,) = source.names(name)
        np.testing.assert_array_equal(source.read(found), image(0))


@pytest.mark.parametrize(
    ("name", "complaint"),
    [
        ("absent", "not there"),
        ("words.md", "not there, or nothing that names images"),
        ("absent.parquet", "No such file"),
        ("bad.parquet", "Parquet"),
        ("t.parquet --column=size", "1 in the column size"),
        ("t.parquet --column=no", "no column no in it: --column= one of size"),
        ("nowhere://bucket", "nowhere"),
        ("http://127.0.0.1:1/list.txt", "not there, or no answer"),
        ("latin.txt", "utf-8"),
    ],
)
def test_a_source_that_is_none_is_one_line(tmp_path: Path, name: str, complaint: str) -> None:
    (tmp_path / "words.md").write_text("x")
    (tmp_path / "bad.parquet").write_text("x")
    (tmp_path / "latin.txt").write_bytes(b"\xe9.jpg\n")
    pyarrow.parquet.write_table(pyarrow.table({"size": [1]}), tmp_path / "t.parquet")
    place, _, column = name.partition(" --column=")
    with pytest.raises(UserError, match=complaint):
        list(source.names(place if ":" in place else str(tmp_path / place), column))


def test_rows_are_those_of_each_image_alone_and_failures_have_reasons(photos: Path, network: Path) -> None:
    (photos / "b.png").write_bytes(b"no image")
    (photos / "more/c.png").unlink()
    names = [*map(str, (photos / "a.png", photos / "b.png", photos / "more/c.png", photos / "z.png")), str(photos)]
    job = begin(photos.parent / "out", network, names, per_shard=3)
    assert job.to_do() == [0, 1]
    done = worker.Worker(job, Spec("AlphaPose", str(network), "cpu"), 2, 1)
    assert [done({"shard": shard})["failures"] for shard in (0, 1)] == [2, 1] and job.to_do() == []
    expected = [
        people_line(Frame(names[place], place, 0.0, upright_image(Path(names[place]))), done.estimator(names[place]))
        for place in (0, 3)
    ]
    assert list(results.lines(job)) == json.loads(json.dumps(expected)) and sum(len(one["people"]) for one in expected)
    reasons = {row["frame"]: (row["reason"], row["unreachable"]) for row in results.failures(job)}
    assert reasons == {
        1: ("not an image, or damaged", False),
        2: ("no such file", False),
        4: ("a folder, no image", True),
    }
    found = results.detections(job, done.estimator.skeleton, {"a.png": 7, "photos/z.png": 9})
    assert set(found.image_ids) <= {7, 9} and len(found) == sum(len(one["people"]) for one in expected)


def test_an_image_that_the_network_refuses_is_a_failure(photos: Path, network: Path) -> None:
    from common.cli import RefusedImageError

    class Picky:
        def batch(self, images):
            if any(one[0, 0, 0] == image(1)[0, 0, 0] for one in images):
                raise RefusedImageError("too narrow")
            return [done.real.batch([one])[0] for one in images]

    job = begin(photos.parent / "out", network, source.names(str(photos)), per_shard=5)
    done = worker.Worker(job, Spec("AlphaPose", str(network), "cpu"), 4, 1)
    done.real, done.estimator = done.estimator, Picky()
    assert done({"shard": 0})["failures"] == 1 and [row["frame"] for row in results.failures(job)] == [1]
    assert [line["frame"] for line in results.lines(job)] == [0, 2, 3, 4]

    job.file(jobs.PEOPLE, 0).unlink()  # as docs/bulk.md says, to look at a shard again
    done.estimator = done.real
    assert done({"shard": 0})["failures"] == 0 and not results.failures(job)


def test_what_ends_a_worker_again_and_again_and_a_lost_connection_end_the_job(photos: Path, network: Path) -> None:
    job = begin(photos.parent / "out", network, [f"memory://gone/{n}.png" for n in range(2)] + [str(photos)] * 2)
    done = worker.Worker(job, Spec("AlphaPose", str(network), "cpu"), 4, 1)
    assert done({"shard": 0})["failures"] == 2  # missing: counted
    assert done({"shard": 1})["error"].endswith("a folder, no image; no image of the shard could be read")
    for _ in range(worker.MOST_ATTEMPTS):
        job.attempt(1)
    assert "a process ended 5 times at images 2 to 3" in done({"shard": 1})["error"] and job.to_do() == [1]


def test_a_full_disk_is_one_line_and_the_shard_is_not_done(photos: Path, network: Path) -> None:
    job = begin(photos.parent / "out", network, source.names(str(photos)))
    done = worker.Worker(job, Spec("AlphaPose", str(network), "cpu"), 4, 1)
    assert done.estimator
    usual = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, usual[1]))
    try:
        error = done({"shard": 0})["error"]
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, usual)
    assert "cannot write" in error and "File too large; free space there" in error and job.to_do() == [0, 1, 2]


def test_another_job_another_process_and_other_files_are_refused(photos: Path, network: Path, tmp_path: Path) -> None:
    target, names = tmp_path / "out", list(source.names(str(photos)))
    begin(target, network, names)
    assert begin(target, network, names).num_shards == 3  # the same again
    other = tmp_path / "other.pth"
    other.write_bytes(b"x")
    for change, words in (
        (lambda: begin(target, other, names), "network"),
        (lambda: begin(target, network, names[1:]), "images: 5, now 4"),
        (lambda: begin(target, network, names, detector="ssd300_vgg16"), "detector: , now ssd300"),
        (lambda: begin(target, network, names, 3), "images_per_shard: 2, now 3"),
        (lambda: begin(photos, network, names), "holds a.png, and no job"),
        (lambda: begin(tmp_path / "new", tmp_path / "gone.onnx", names), "gone.onnx: No such file"),
        (lambda: begin(tmp_path / "new", network, []), "names no image"),
    ):
        with pytest.raises(UserError, match=words):
            change()
    code = f"from pathlib import Path; from common.train import lock; lock.take(Path({str(target)!r}), '--target')"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert "a run is under way here" in done.stderr and "--target" in done.stderr


@pytest.mark.parametrize(
    ("argv", "complaint"),
    [
        ([], "--model is needed: Directory:file"),
        (["--model=X:y", "--source=a", "--target=b"], "--model=X:y: Directory:file"),
        (["--model=MIPNet:y", "--source=a", "--target=b", "--evaluate"], "--evaluate needs --annotations"),
        (["--model=MIPNet:gone.pth", "--source=a", "--target=b"], "gone.pth: No such file"),
    ],
)
def test_a_command_that_cannot_be_meant_is_one_line(argv: list[str], complaint: str) -> None:
    with pytest.raises(UserError, match=complaint):
        bulk.main(argv)


def test_a_cluster_that_does_not_answer_is_one_line(
    photos: Path, network: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("ray")
    monkeypatch.setenv("RAY_ADDRESS", "127.0.0.1:1")
    with pytest.raises(UserError, match="RAY_ADDRESS=127.0.0.1:1: Connection refused; start Ray there"):
        bulk.main([f"--model=AlphaPose:{network}", f"--source={photos}", f"--target={photos.parent / 'out'}"])


def test_without_ray_the_command_says_what_to_type(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"needs ray and pyarrow and fsspec: pip install 'pose-zoo\[bulk\]'"):
        bulk.main(["--model=MIPNet:y", "--source=a", "--target=b"])


def test_the_command_does_a_job_through_ray_and_goes_on_with_it(
    tiny_coco: Path, network: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("ray")
    words = [
        f"--model=AlphaPose:{network}",
        f"--source={tiny_coco / 'val2017'}",
        f"--target={tmp_path / 'out'}",
        "--images_per_shard=4",
        "--device=cpu",
        "--workers=1",
    ]
    command = [sys.executable, "-m", "tools.bulk", *words]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, env={**os.environ, "RAY_ADDRESS": ""})
    assert done.returncode == 0 and "6 of 6 images" in done.stdout and done.stderr == ""
    people = sorted((tmp_path / "out/people").iterdir())
    assert [path.name for path in people] == ["000000000000-000000000003.parquet", "000000000004-000000000005.parquet"]
    written = [path.stat().st_mtime_ns for path in people]
    annotations = tiny_coco / "annotations/person_keypoints_val2017.json"
    bulk.main([*words, "--coco", "--evaluate", f"--annotations={annotations}"])  # nothing is left to do
    assert [path.stat().st_mtime_ns for path in people] == written
    assert "of 6 images of 6 annotated ones" in capfd.readouterr().out
    events = [json.loads(line) for line in (tmp_path / "out/metrics.jsonl").read_text().splitlines()]
    assert [one["event"] for one in events] == ["shard", "shard", "end", "end", "evaluation"]
    assert json.loads((tmp_path / "out/coco_results.json").read_text()) is not None
    assert cli.USAGE_EXIT_CODE == 2
