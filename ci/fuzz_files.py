# SPDX-License-Identifier: Apache-2.0
"""Damages each kind of file that is read, and reads it: the answer must be a value or one line, at once.

python ci/fuzz_files.py [KIND ...] [--count=500] [--seed=0]

Prints a line a kind, and the first damaged files that ended in a traceback, took more than 5 s or 1 GB; the exit code
is 1 if there were any. Not in the test suite: it takes minutes.
"""

import argparse
import contextlib
import io
import json
import re
import resource
import shutil
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

import AlphaPose.config  # noqa: E402
import common.launch.result_file  # noqa: E402
import common.report  # noqa: E402
import common.runtime.onnxruntime  # noqa: E402
import common.train.checkpoint  # noqa: E402
import MIPNet.config  # noqa: E402
from common import cli, skeleton  # noqa: E402
from common.coco import evaluate, images, reader, validate  # noqa: E402
from common.coco.evaluate import EvaluationSet  # noqa: E402
from common.coco.mini import dataset  # noqa: E402
from common.media.detection_file import DetectionFile  # noqa: E402
from common.runtime.session import Options  # noqa: E402
from common.topdown import boxes  # noqa: E402
from Lightweight_OpenPose import labels  # noqa: E402

import numpy as np  # noqa: E402
import torch  # noqa: E402

MOST_SECONDS, MOST_BYTES, MOST_LETTERS = 5, 10**9, 5000
WRONG = [
    "null",
    "true",
    "-1",
    "0",
    "1e400",
    "NaN",
    "1.5",
    "9" * 6000,
    str(2**70),
    '"x"',
    '"\\u001b[31m"',
    '"\\ud800"',
    "[]",
    "{}",
    "[[[]]]",
    "[" * 5000,
    '"' + "a" * 10**5 + '"',
    "*a",
    "~",
    "'",
    "3: 3",
    "!!python/object:os.system",
]
TOKEN = re.compile(rb'"[^"\n]*"|-?[0-9][0-9.]*|\b[A-Za-z_]+\b')
SKELETON = """keypoints: [nose, left_hand, right_hand]
sigmas: [0.026, 0.062, 0.062]
flip_pairs: [[left_hand, right_hand]]
limbs: [[nose, left_hand], [nose, right_hand]]
derived: {neck: [left_hand, right_hand]}
assembly: [1, 0]
"""
ANNOTATIONS = "annotations/person_keypoints_val2017.json"


def damaged(content: bytes, random: np.random.Generator, is_text: bool) -> bytes:
    """A file with a few things wrong: words of a text exchanged, else bytes flipped, cut out, doubled or cut off."""
    for _ in range(random.integers(1, 4)):
        tokens = list(TOKEN.finditer(content)) if is_text else []
        kind = random.integers(0, 10)
        if tokens and kind < 7:
            token = tokens[random.integers(len(tokens))]
            content = content[: token.start()] + str(random.choice(WRONG)).encode() + content[token.end() :]
            continue
        first, last = sorted(random.integers(0, len(content) + 1, 2))
        last = min(last, first + int(random.choice([1, 4, 100, 10**6])))
        part = random.integers(0, 256, last - first, np.uint8).tobytes()
        middle = [part, b"", content[first:last] * 2, content[first:last][::-1]][random.integers(4)]
        content = content[:first] + middle + (content[last:] if kind < 9 else b"")
    return content


def read_annotations(path: Path) -> None:
    """Reads as training, checks, and evaluates without detections."""
    data = path.parent / "data"
    (data / "annotations").mkdir(parents=True, exist_ok=True)
    shutil.copy(path, data / ANNOTATIONS)
    for finding in validate.check(data, skeleton.COCO, images=False):
        if not str(finding).isprintable() or len(str(finding)) > MOST_LETTERS:
            raise AssertionError(f"a finding of {len(str(finding))} characters: {str(finding)[:200]!r}")
    index = reader.load(path, skeleton.COCO.num_keypoints)
    nothing = evaluate.no_detections(skeleton.COCO.num_keypoints)
    evaluate.EvaluationSet.of(index).average_precision(nothing, skeleton.COCO.sigmas)
    labels.build(path, num_keypoints=skeleton.COCO.num_keypoints)


def report_of(path: Path) -> None:
    """Writes the result file of a run with these metrics."""
    common.report.Run("x", "acc", 1, 4, str(path), str(path.parent / "run"), 0.0).leave(path.parent / "logs")
    common.launch.result_file.write(path.parent / "logs", 3.0)


def load_checkpoint(path: Path) -> None:
    """Reads a checkpoint into a network."""
    content = common.train.checkpoint.read(path)
    common.train.checkpoint.load_matching(torch.nn.Linear(4, 3), content, path)


def read_recipe(path: Path) -> None:
    """Reads a yaml config as train.py of each directory does, whichever it is of."""
    model = AlphaPose if path.name.startswith("alphapose") else MIPNet
    model.config.parse([f"--cfg={path}", "--data_path=mini"]).check()


def kinds(folder: Path) -> dict[str, tuple[Path, Callable[[Path], object]]]:
    """A sound file of each kind, and what reads it."""
    data = dataset.write(folder / "mini", 4, 6)
    annotations = data / ANNOTATIONS
    found = [{"image_id": 500001 + n % 6, "category_id": 1, "bbox": [3.5, 4, 20, 30], "score": 0.9} for n in range(12)]
    (folder / "found.json").write_text(json.dumps(found))
    network = torch.nn.Linear(4, 3)
    content = {"state_dict": network.state_dict(), "epoch": 3, "config": {"cfg": "x", "base_height": 368}}
    common.train.checkpoint.save(folder / "last.pth", content)
    step = {"event": "step", "time": 9.0, "epoch": 0, "losses": {"stage 1": 1.5, "acc": 0.5}, "images_per_s": 9.5}
    (folder / "metrics.jsonl").write_text("".join(json.dumps({**step, "step": n}) + "\n" for n in range(9)))
    (folder / "mine.yaml").write_text(SKELETON)
    torch.onnx.export(network, (torch.zeros(1, 4),), str(folder / "net.onnx"), dynamo=False, input_names=["x"])
    for name, place in (("alphapose", "AlphaPose/configs"), ("mipnet", "MIPNet/experiments")):
        shutil.copy(sorted((ROOT / place).rglob("*.yaml"))[0], folder / f"{name}.yaml")
    validation = EvaluationSet.load(annotations, images.image_folder(data, "val"), skeleton.COCO, 0)
    return {
        "annotation": (annotations, read_annotations),
        "checkpoint": (folder / "last.pth", load_checkpoint),
        "metrics": (folder / "metrics.jsonl", report_of),
        "detection": (folder / "found.json", lambda path: (DetectionFile(path), boxes.detected(path, validation))),
        "skeleton": (folder / "mine.yaml", skeleton.load),
        "recipe": (folder / "alphapose.yaml", read_recipe),
        "recipe_mipnet": (folder / "mipnet.yaml", read_recipe),
        "onnx": (folder / "net.onnx", lambda path: common.runtime.onnxruntime.open_onnx(path, Options("cpu"))),
    }


class Slow(BaseException):
    """A file that is read for too long."""


def _stop(number: int, frame: object) -> None:
    raise Slow


def complaint(read: Callable[[Path], object], path: Path) -> str:
    """What is wrong with the answer to a file; empty where it is a value or one line."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    signal.setitimer(signal.ITIMER_REAL, MOST_SECONDS)
    try:
        with contextlib.redirect_stderr(io.StringIO()), contextlib.redirect_stdout(io.StringIO()):
            read(path)
    except cli.UserError as error:
        signal.setitimer(signal.ITIMER_REAL, 0)
        return "" if "\n" not in str(error) and len(str(error)) < MOST_LETTERS else f"not one line: {error}"
    except Slow:
        return f"more than {MOST_SECONDS} s"
    except BaseException:
        return traceback.format_exc()
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024
    return f"{grown / 1e9:.1f} GB" if grown > MOST_BYTES else ""


def main() -> int:
    """The command of this file."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("kinds", nargs="*")
    parser.add_argument("--count", type=int, default=500)
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    signal.signal(signal.SIGALRM, _stop)
    bad = 0
    with tempfile.TemporaryDirectory() as name:
        for kind, (source, read) in kinds(Path(name)).items():
            if asked.kinds and kind not in asked.kinds:
                continue
            began, faults, content = time.time(), list[str](), source.read_bytes()
            is_text = source.suffix in (".json", ".jsonl", ".yaml")
            for seed in range(asked.seed, asked.seed + asked.count):
                path = Path(name) / "case" / source.name
                shutil.rmtree(path.parent, ignore_errors=True)
                path.parent.mkdir()
                path.write_bytes(damaged(content, np.random.default_rng(seed), is_text))
                if fault := complaint(read, path):
                    faults.append(f"--seed={seed} --count=1: {fault}")
            bad += len(faults)
            print(f"{kind}: {len(faults)} of {asked.count}, {time.time() - began:.0f} s")  # noqa: T201
            print("\n".join(faults[:3]))  # noqa: T201
    return int(bad > 0)


if __name__ == "__main__":
    sys.exit(main())
