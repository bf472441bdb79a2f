# SPDX-License-Identifier: Apache-2.0
"""Evaluates the published checkpoints of common/weights.json by their protocols, and writes the tables of the READMEs.

Every result stays in ci/results/reproduced.json, with machine, versions and date; reproduced.md and the READMEs are
written from it. See ci/reproduce.sh.
"""

import datetime
import json
import platform
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from common import cli, files
from common.cli import flag
from common.train import published
from common.train.checkpoint import CheckpointError
from common.train.published import Published
from tools import runs
from tools.weights import folders

import bench

ROOT = Path(__file__).resolve().parents[1]
BEGIN, END = "<!-- ci/reproduce.sh writes from here -->\n", "<!-- to here -->\n"
HEAD = ("checkpoint", "AP published", "AP here", "protocol", "evaluation", "training", "machine, date")
BOXES = ("", "person_detection_results", "annotations")  # where a file of detected boxes may lie in a data set
Rows = dict[str, dict[str, Any]]


@dataclass(frozen=True)
class Options:
    """Evaluates the published checkpoints, and writes what came out into the READMEs."""

    data_path: str = flag("COCO folder (annotations, train2017, val2017)", "")
    only: str = flag("directories and names of checkpoints, comma separated; empty: all", "")
    train: bool = flag("also measure the training of each directory, by its performance recipe", True)
    again: bool = flag("measure again what was measured", False)
    output_dir: str = flag("folder of logs and detections", str(ROOT / ".cache" / "reproduce"))
    root: str = flag("the clone whose READMEs and results are written", str(ROOT))
    eval_words: str = flag("further words for every eval.py, such as --val_images=500", "")
    train_words: str = flag("further words for every train.py", "")


def main() -> None:
    """Exit code 1 where a checkpoint could not be evaluated, or its AP is not the published one."""
    options = cli.parse(Options, {})
    chosen = choose(options.only)
    if not Path(options.data_path, "annotations").is_dir():
        raise cli.UserError("--data_path is needed: a COCO folder with annotations, train2017 and val2017")
    store = Path(options.root) / "ci" / "results" / "reproduced.json"
    rows: Rows = files.read_json(store) if store.is_file() else {}
    failures = []
    for one in chosen:
        if options.again or "ap" not in rows.get(one.name, {}):
            print(f"== {one.name}", flush=True)
            try:
                rows[one.name] = measured(one, rows, options)
                write(rows, Path(options.root))
            except cli.UserError as error:
                failures.append(f"{one.name}: {error}")
                continue
        print(line(one, rows[one.name]), flush=True)
        if not agrees(one, rows[one.name]):
            failures.append(f"{one.name}: AP {rows[one.name]['ap']:.4f}, published {one.ap:.3f} +- {one.tolerance}")
    write(rows, Path(options.root))
    for failure in failures:
        print(f"failed: {failure}", flush=True)
    sys.exit(bool(failures))


def choose(only: str) -> list[Published]:
    """The checkpoints whose AP is published, of those that `--only` names. Raises UserError for an unknown word."""
    with_ap = [one for one in published.table().values() if one.ap is not None]
    words = [word for word in only.split(",") if word]
    if unknown := [word for word in words if not any(word in (one.name, one.network) for one in with_ap)]:
        known = dict.fromkeys([one.network for one in with_ap] + [one.name for one in with_ap])
        raise cli.UserError(f"--only={unknown[0]}: choose from {', '.join(known)}")
    return [one for one in with_ap if not words or {one.name, one.network} & set(words)]


def measured(one: Published, rows: Rows, options: Options) -> dict[str, Any]:
    """What an evaluation finds; images a second of the directory's training, once. Raises UserError."""
    source = published.locate(one.name, one.network, folders(one.network))
    words = [f"--checkpoint_path={source}", *one.evaluate, *options.eval_words.split()]
    if one.detections:
        words.append(f"--detections={detections(one, Path(options.data_path))}")
    record = run(one.network, "eval.sh", words, options)["evaluate"]
    items, parts = runs.item_ms(record)
    evaluation = f"{1000 / max(parts['total'], 1e-9):.1f} {items}/s"
    training = next((row["training"] for name, row in rows.items() if network_of(name) == one.network), "")
    if options.train and (options.again or not training):
        end = run(one.network, "train_performance_1p.sh", options.train_words.split(), options)["end"]
        training = f"{end['images_per_s']:.1f}/s"
    import torch

    return {
        "ap": record["metrics"]["AP"],
        "images": record["protocol"].get("images"),
        "evaluation": evaluation,
        "training": training,
        "machine": bench.hardware(),
        "date": f"{datetime.date.today():%Y-%m-%d}",
        "versions": f"Python {platform.python_version()}, torch {torch.__version__}",
        "words": list(one.evaluate),
    }


def network_of(name: str) -> str:
    """The directory of a checkpoint; empty where the table knows it no more."""
    return published.table()[name].network if name in published.table() else ""


def detections(one: Published, data_path: Path) -> Path:
    """The file of boxes that a protocol takes. Raises UserError where it is not there."""
    for folder in BOXES:
        if (path := data_path / folder / one.detections).is_file():
            return path
    raise CheckpointError(f"its protocol needs {one.detections} in {data_path}: take it from {one.page}")


def run(network: str, script: str, words: list[str], options: Options) -> runs.Records:
    """The records that a launcher leaves. Raises UserError where it fails."""
    folder = Path(options.output_dir).resolve() / network
    logs = folder / "logs" / script.removesuffix(".sh")
    flags = [f"--data_path={Path(options.data_path).resolve()}", f"--output_dir={folder}", f"--log_dir={logs}", *words]
    try:
        runs.complete(["bash", str(ROOT / network / "test" / script), *flags], folder / f"{script}.txt", ROOT / network)
    except runs.FailedError as error:
        raise runs.FailedError(f"{script}: {error}") from error
    return runs.left(logs)


def agrees(one: Published, row: dict[str, Any]) -> bool:
    """Whether the AP is the published one."""
    assert one.ap is not None
    return abs(row["ap"] - one.ap) <= one.tolerance


def line(one: Published, row: dict[str, Any]) -> str:
    """A row of the tables."""
    verdict = "" if agrees(one, row) else " (differs)"
    cells = (
        f"`{one.name}`",
        f"{one.ap:.3f} ± {one.tolerance}",
        f"{row['ap']:.4f}{verdict}",
        f"{one.protocol}; {row['images']} images",
        row["evaluation"],
        row["training"] or "not measured",
        f"{row['machine']}; {row['versions']}; {row['date']}",
    )
    return f"| {' | '.join(cells)} |"


def table(rows: Rows, network: str = "") -> str:
    """The results as Markdown, of one directory or of all; a line where there are none."""
    lines = [
        line(one, rows[name])
        for name, one in published.table().items()
        if name in rows and network in ("", one.network)
    ]
    if not lines:
        only = f" --only={network}" if network else ""
        return (
            f"No published checkpoint was evaluated yet: `bash ci/reproduce.sh --data_path=/data/coco{only}` does it.\n"
        )
    return "\n".join([f"| {' | '.join(HEAD)} |", "|---" * len(HEAD) + "|", *lines]) + "\n"


def write(rows: Rows, root: Path) -> None:
    """Writes results and READMEs, each whole or not at all, and only where something changed."""
    results = root / "ci" / "results"
    if rows:
        save(results / "reproduced.json", json.dumps(rows, indent=1, sort_keys=True) + "\n")
        save(
            results / "reproduced.md",
            f"# Published checkpoints, evaluated here\n\n`bash ci/reproduce.sh`\n\n{table(rows)}",
        )
    for network in dict.fromkeys(one.network for one in published.table().values() if one.ap is not None):
        page = root / network / "README.md"
        save(page, between(page.read_text(), table(rows, network)))
    save(root / "README.md", overview((root / "README.md").read_text(), rows))


def save(path: Path, text: str) -> None:
    """Writes a file that is not so already."""
    if not path.is_file() or path.read_text() != text:
        files.write_atomically(path, text.encode())


def between(page: str, text: str) -> str:
    """A page with another text between the two marks."""
    before, _, rest = page.partition(BEGIN)
    return before + BEGIN + text + END + rest.partition(END)[2]


def overview(page: str, rows: Rows) -> str:
    """The table at the top of the first README, with the first checkpoint of each directory that was evaluated."""
    firsts = {one.network: (name, rows[name]) for name, one in reversed(published.table().items()) if name in rows}
    lines = page.split("\n")
    for place, text in enumerate(lines):
        for network, (name, row) in firsts.items():
            if text.startswith("|") and f"]({network}/README.md)" in text:
                cells = text.split(" | ")
                cells[-3:-1] = (
                    f"{row['ap']:.3f} (`{name}`)",
                    f"training {row['training'] or '-'}, evaluation {row['evaluation']}",
                )
                lines[place] = " | ".join(cells)
    return "\n".join(lines)


if __name__ == "__main__":
    cli.run(main)
