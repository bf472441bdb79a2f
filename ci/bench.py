# SPDX-License-Identifier: Apache-2.0
"""Runs every bench_*.py of the project and writes what they measured to ci/results/<what>_<hardware>_<date>.md.

    python ci/bench.py                       all that take minutes
    python ci/bench.py --only=decode,training_step --runs=9     of every directory that has one
    python ci/bench.py --only=MIPNet/two_people     the slow one: trains two networks

Each bench compares with a plain version of the same work, on this machine, in turn; medians and ratios count.
A bench is a module with `TITLE`, `SLOW` and `measure(runs) -> list of rows` (dictionaries with the same keys).
"""

import datetime
import importlib
import platform
import re
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

from common import cli

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "ci" / "results"
LIBRARIES = ("torch", "numpy", "cv2", "numba")


@dataclass(frozen=True)
class Options:
    """Measures and writes the results down."""

    only: str = cli.flag("names of benches, comma separated; empty: all that are not slow", "")
    runs: int = cli.flag("repetitions; their median counts", 7, least=1)
    results: str = cli.flag("folder of the reports", str(RESULTS))


def benches() -> dict[str, ModuleType]:
    """Every bench by <directory>/<name>."""
    found = {}
    for path in sorted(ROOT.glob("*/test/bench_*.py")):
        module = importlib.import_module(".".join(path.relative_to(ROOT).with_suffix("").parts))
        found[f"{path.parts[-3]}/{path.stem.removeprefix('bench_')}"] = module
    return found


def report(title: str, command: str, rows: list[dict[str, object]], seconds: float) -> str:
    """The measurement as Markdown: what, where, with what, when."""
    columns = list(rows[0])
    table = ["| " + " | ".join(columns) + " |", "|" + "---|" * len(columns)]
    table += ["| " + " | ".join(_shown(row[column]) for column in columns) + " |" for row in rows]
    return "\n".join([f"# {title}", "", *facts(command, seconds), "", *table, ""])


def facts(command: str, seconds: float | None = None) -> list[str]:
    """When, where, with which versions and how something was measured."""
    versions = ", ".join(f"{name} {importlib.import_module(name).__version__}" for name in LIBRARIES)
    return [
        f"- date: {datetime.date.today().isoformat()}" + ("" if seconds is None else f", {seconds:.0f} s"),
        f"- machine: {hardware()}",
        f"- versions: Python {platform.python_version()}, {versions}",
        f"- command: `{command}`",
    ]


def result_file(what: str, folder: Path = RESULTS) -> Path:
    """<what>_<hardware>_<date>.md."""
    machine = re.sub(r"[^a-z0-9]+", "_", hardware().lower()).strip("_")
    return folder / f"{what.replace('/', '_').lower()}_{machine}_{datetime.date.today():%Y%m%d}.md"


def _shown(value: object) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def hardware() -> str:
    """Processor and cores, and the accelerator where there is one."""
    from common import device

    import torch

    words = [line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")]
    processor = words[0].partition(":")[2].strip() if words else platform.processor() or platform.machine()
    chosen = device.resolve("auto")
    accelerator = "" if chosen.type == "cpu" else f", {device.describe(chosen)}"
    return f"{processor}, {torch.get_num_threads()} threads{accelerator}"


def chosen(only: str, known: dict[str, ModuleType]) -> list[str]:
    """The benches that `--only` means, by whole names or by their last part. Raises UserError for an unknown one."""
    if not only:
        return [name for name in known if not known[name].SLOW]
    words = [word for word in only.split(",") if word]
    if unknown := [word for word in words if not any(word in (name, name.split("/")[1]) for name in known)]:
        raise cli.UserError(f"--only={','.join(unknown)}: choose from {', '.join(known)}")
    return [name for name in known if name in words or name.split("/")[1] in words]


def main() -> None:
    """Runs the benches that were asked for."""
    options = cli.parse(Options, {})
    known = benches()
    for name in chosen(options.only, known):
        began = time.perf_counter()
        rows = known[name].measure(options.runs)
        command = f"python ci/bench.py --only={name} --runs={options.runs}"
        text = report(known[name].TITLE, command, rows, time.perf_counter() - began)
        print(text, flush=True)
        path = result_file(name, Path(options.results))
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        print(f"written to {path}\n", file=sys.stderr, flush=True)


if __name__ == "__main__":
    cli.run(main)
