# SPDX-License-Identifier: Apache-2.0
"""Two evaluations side by side, where they can be compared.

    python -m tools.compare_runs eval_step1 other/eval_step1 [--allow=input_size]

takes the folders that `eval.py` leaves (or their metrics.jsonl) and prints each metric of both, and the difference.
Runs with other images, boxes, scales, or anything else in their protocol that changes what AP means are refused; the
network, its weights, runtime and precision may differ, and what `--allow` names.
"""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from common import cli, files
from common.cli import UserError, flag

EVENT = "evaluate"
FREE = frozenset({"checkpoint", "network", "runtime", "precision", "refinement_stages", "decode"})  # may differ
CONTENT = frozenset({"annotations", "boxes"})  # names of files, of which the content counts


@dataclass(frozen=True)
class Config:
    """Set two evaluations side by side: python -m tools.compare_runs A B."""

    a: str = flag("folder of the first evaluation (or the first word)", "")
    b: str = flag("folder of the second one (or the second word)", "")
    allow: tuple[str, ...] = flag("parts of the protocol that may differ, such as input_size", ())


@dataclass(frozen=True)
class Evaluation:
    """The last evaluation that a metrics.jsonl has."""

    path: Path
    metrics: dict[str, float]
    protocol: dict[str, Any]


def main(argv: Sequence[str] | None = None) -> None:
    """The command."""
    config = cli.parse(Config, {}, argv, prepare=_name_the_folders)
    if not (config.a and config.b):
        raise UserError("which evaluations? python -m tools.compare_runs FOLDER FOLDER")
    a, b = load(config.a), load(config.b)
    if differences := unlike(a, b, config.allow):
        listed = "; ".join(f"{name}: {_shown(mine)} and {_shown(theirs)}" for name, mine, theirs in differences)
        names = ",".join(name for name, _, _ in differences)
        raise UserError(f"{a.path} and {b.path} cannot be compared: {listed}. Evaluate alike, or say --allow={names}")
    print(table(a, b))  # noqa: T201  the program's answer


def _name_the_folders(words: Sequence[str]) -> list[str]:
    """The folders may be given without flags, as the first words."""
    plain = [word for word in words[:2] if not word.startswith("-")]
    named = [f"--{name}={word}" for name, word in zip("ab", plain, strict=False)]
    return named + list(words[len(plain) :])


def load(place: str | Path) -> Evaluation:
    """The files of an evaluation. Raises UserError, naming the file, if none is readable."""
    path = Path(place) / "metrics.jsonl" if Path(place).is_dir() else Path(place)
    found = None
    for number, line in enumerate(files.read_bytes(path).decode("utf-8", "replace").splitlines(), 1):
        try:
            record = json.loads(line) if line.strip() else {}
            if record.get("event") == EVENT and "protocol" in record:
                metrics = {str(name): float(value) for name, value in record["metrics"].items()}
                found = Evaluation(path, metrics, dict(record["protocol"]))
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
            raise UserError(f"{path}: line {number}: no record of an evaluation ({error}). Evaluate again") from error
    if found is None:
        raise UserError(f"{path}: no evaluation in it; name the folder that eval.py wrote")
    return found


def unlike(a: Evaluation, b: Evaluation, allowed: Sequence[str] = ()) -> list[tuple[str, Any, Any]]:
    """Name and both values of each part of the protocols that differs and may not."""
    names = [*a.protocol, *(name for name in b.protocol if name not in a.protocol)]
    pairs = [(name, a.protocol.get(name), b.protocol.get(name)) for name in names if name not in {*FREE, *allowed}]
    return [(name, mine, theirs) for name, mine, theirs in pairs if not _same(name, mine, theirs)]


def _same(name: str, mine: Any, theirs: Any) -> bool:
    """Whether two values mean the same; of files in other places, whether their contents are equal."""
    if mine == theirs:
        return True
    paths = [Path(str(one)) for one in (mine, theirs)]
    if name not in CONTENT or not all(path.is_file() for path in paths):
        return False
    first, second = (hashlib.sha256(path.read_bytes()).digest() for path in paths)
    return first == second


def _shown(value: Any) -> str:
    return "none" if value is None else str(value)


def table(a: Evaluation, b: Evaluation) -> str:
    """A line a metric: both values and B - A; -1: nothing of the kind is annotated."""
    names = [name for name in a.metrics if name in b.metrics]
    if not names:
        raise UserError(f"{a.path} and {b.path} have no metric in common")
    width = max(map(len, names))
    head = [f"A: {a.path} ({a.protocol.get('checkpoint', '?')})", f"B: {b.path} ({b.protocol.get('checkpoint', '?')})"]
    lines = [
        f"{name:<{width}}  {a.metrics[name]:7.4f}  {b.metrics[name]:7.4f}  {_difference(a, b, name)}" for name in names
    ]
    return "\n".join([*head, f"{'':<{width}}  {'A':>7}  {'B':>7}  {'B - A':>7}", *lines])


def _difference(a: Evaluation, b: Evaluation, name: str) -> str:
    return "      -" if min(a.metrics[name], b.metrics[name]) < 0 else f"{b.metrics[name] - a.metrics[name]:+7.4f}"


if __name__ == "__main__":
    cli.run(main)
