# SPDX-License-Identifier: Apache-2.0
# ruff: noqa: D103  a test says in its name what it checks
"""ci/reproduce.py with stand-in weights from a mirror: tables and READMEs filled, a second run changes nothing."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

from common.test.programs import environment
from Lightweight_OpenPose.model import PoseEstimationWithMobileNet

import project
import reproduce
import torch

NAME = "checkpoint_iter_370000.pth"
TRAIN = "--device=cpu --net_input_size=64 --batch_size=4 --num_workers=1 --amp=O0 --checkpoint_path=none"
READMES = ("README.md", *(f"{name}/README.md" for name in project.model_directories()))


def command(folder: Path, *words: str, mirror: Path) -> "subprocess.CompletedProcess[str]":
    flags = (f"--root={folder / 'clone'}", f"--output_dir={folder / 'work'}", f"--train_words={TRAIN}", *words)
    variables = environment(POSE_ZOO_MIRROR=str(mirror), POSE_ZOO_HOME=str(folder / "home"))
    return subprocess.run(
        [sys.executable, project.ROOT / "ci" / "reproduce.py", *flags],
        env=variables,
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )


def clone(folder: Path) -> Path:
    """The READMEs of this one."""
    for name in READMES:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(project.ROOT / name, folder / name)
    return folder


def contents(folder: Path) -> dict[str, str]:
    return {str(path.relative_to(folder)): path.read_text() for path in folder.rglob("*") if path.is_file()}


def test_a_run_fills_the_tables_and_a_second_one_changes_nothing(tmp_path: Path, tiny_coco: Path) -> None:
    mirror, target = tmp_path / "mirror", clone(tmp_path / "clone")
    mirror.mkdir()
    torch.manual_seed(0)
    torch.save({"state_dict": PoseEstimationWithMobileNet(1, 19, 38).state_dict()}, mirror / NAME)
    entry = {
        "network": "Lightweight_OpenPose",
        "ap": 0.0,
        "tolerance": 0.05,
        "protocol": "drawn people",
        "evaluate": ["--base_height=64", "--device=cpu", "--num_workers=1"],
    }
    boxes = {
        "network": "AlphaPose",
        "ap": 0.7,
        "tolerance": 0.01,
        "protocol": "boxes",
        "detections": "boxes.json",
        "page": "https://example.org/zoo",
    }
    (mirror / "weights.json").write_text(json.dumps({NAME: entry, "stand-in.pth": boxes}))
    before = contents(target)
    torch.save({}, mirror / "stand-in.pth")
    done = command(tmp_path, f"--data_path={tiny_coco}", f"--only={NAME},stand-in.pth", mirror=mirror)
    assert done.returncode == 1, done.stdout + done.stderr
    assert "failed: stand-in.pth: its protocol needs boxes.json in" in done.stdout
    after = contents(target)
    rows = json.loads(after["ci/results/reproduced.json"])
    assert set(rows) == {NAME} and rows[NAME]["images"] == 6 and rows[NAME]["training"].endswith("/s")
    assert rows[NAME]["evaluation"].endswith(" images/s") and rows[NAME]["versions"].startswith("Python 3")
    written = f"| `{NAME}` | 0.000 ± 0.05 | {rows[NAME]['ap']:.4f} | drawn people; 6 images |"
    for page in ("ci/results/reproduced.md", "Lightweight_OpenPose/README.md"):
        assert written in after[page]
    (line,) = (line for line in after["README.md"].splitlines() if "](Lightweight_OpenPose/README.md) |" in line)
    assert f"| {rows[NAME]['ap']:.3f} (`{NAME}`) | training " in line and line.count("|") == 7
    assert {name for name in before if before[name] != after[name]} == {"README.md", "Lightweight_OpenPose/README.md"}

    stamps = {path: path.stat().st_mtime_ns for path in target.rglob("*") if path.is_file()}
    done = command(tmp_path, f"--data_path={tiny_coco}", f"--only={NAME}", mirror=mirror)
    assert done.returncode == 0 and written in done.stdout, done.stdout + done.stderr
    assert contents(target) == after and stamps == {path: path.stat().st_mtime_ns for path in stamps}


def test_mistakes_are_one_line_and_leave_everything(tmp_path: Path, tiny_coco: Path) -> None:
    before = contents(clone(tmp_path / "clone"))
    for words, message in (
        ((f"--data_path={tmp_path}",), "error: --data_path is needed: a COCO folder"),
        ((f"--data_path={tiny_coco}", "--only=YOLO"), "error: --only=YOLO: choose from Lightweight_OpenPose, "),
    ):
        done = command(tmp_path, *words, mirror=tmp_path)
        assert done.returncode == 2 and done.stderr.startswith(message) and done.stderr.count("\n") == 1
    done = command(tmp_path, f"--data_path={tiny_coco}", "--only=0-6_30000.ckpt", mirror=tmp_path)
    assert done.returncode == 1 and "failed: 0-6_30000.ckpt: 0-6_30000.ckpt is not here and cannot" in done.stdout
    assert contents(tmp_path / "clone") == before


def test_the_readmes_are_as_the_results_say() -> None:
    store = project.ROOT / "ci" / "results" / "reproduced.json"
    rows = json.loads(store.read_text()) if store.is_file() else {}
    for name in project.model_directories():
        page = (project.ROOT / name / "README.md").read_text()
        if reproduce.BEGIN in page:
            assert reproduce.between(page, reproduce.table(rows, name)) == page
    page = (project.ROOT / "README.md").read_text()
    assert reproduce.overview(page, rows) == page
    assert os.access(project.ROOT / "ci" / "reproduce.sh", os.X_OK)
