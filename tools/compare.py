# SPDX-License-Identifier: Apache-2.0
"""One checkpoint in every format that runs here, by the directory's own programs: AP, pixels, ms, items a second, MB.

python -m tools.compare --network=AlphaPose --checkpoint_path=fast_res50_256x192.pth --data_path=/data/coco
python -m tools.compare --network=OpenPose_infer --checkpoint_path=model_best.pth --data_path=mini --formats=openvino

Exports, quantizes and evaluates with `export.py`, `quantize.py` and `eval.py`; writes compare.md, compare.json and the
networks into --output_dir. A format that cannot run here stays in the table, with the reason. Formats are evaluated in
turn, --rounds times; medians count. Leave the other cores idle.
"""

import json
import statistics
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from common import files
from common.cli import UserError, flag, parse, run
from common.coco.evaluate import Detections, no_detections
from tools import runs
from tools.matching import keypoint_distances
from tools.runs import FailedError

import numpy as np

Network = Literal["Lightweight_OpenPose", "OpenPose_infer", "AlphaPose", "MIPNet", "OpenPose_MindSpore_port"]
EXPORT = {"OpenPose_infer": "OpenPose_infer.OpenPose_pth2onnx"}  # programs with other names
EVALUATE = {"OpenPose_infer": "OpenPose_infer.infer"}
QUANTIZE = {"Lightweight_OpenPose": "OpenPose_infer.quantize"}
CHECKPOINT, FLOAT, INT8, ASCEND = "checkpoint", "float32 .onnx", "int8 .onnx", ".om"
REFERENCE = "PyTorch float32"
BFLOAT16, FLOAT16 = (("--amp=O1", f"--amp_type={name}") for name in ("bfloat16", "float16"))
OPENVINO, TENSORRT = ("--device=cpu", "--provider=openvino"), ("--device=cuda", "--provider=tensorrt")
FORMATS: dict[str, tuple[str, tuple[str, ...]]] = {  # the file, and flags of the evaluation
    REFERENCE: (CHECKPOINT, ()),
    "PyTorch bfloat16": (CHECKPOINT, BFLOAT16),
    "PyTorch float16": (CHECKPOINT, FLOAT16),
    "ONNX Runtime float32": (FLOAT, ()),
    "ONNX Runtime int8": (INT8, ("--device=cpu", "--provider=cpu")),
    "OpenVINO float32": (FLOAT, OPENVINO),
    "OpenVINO bfloat16": (FLOAT, (*OPENVINO, *BFLOAT16)),
    "OpenVINO int8": (INT8, OPENVINO),
    "TensorRT float32": (FLOAT, TENSORRT),
    "TensorRT float16": (FLOAT, (*TENSORRT, *FLOAT16)),
    "OM": (ASCEND, ("--device=npu",)),
}
HEAD = "| format | AP | keypoints, mean px | median px | matched people | network, ms | items/s | MB |"
Row = dict[str, Any]


@dataclass(frozen=True)
class Config:
    """Compares a checkpoint of any directory in all formats."""

    network: Network = flag("the directory", "Lightweight_OpenPose")
    checkpoint_path: str = flag("a file or a published name", "")
    data_path: str = flag("COCO folder, or `mini`", "")
    output_dir: str = flag("folder for table and networks", "compare_output")
    formats: tuple[str, ...] = flag("parts of their names, comma separated; empty: all", ())
    om_path: str = flag("the network as .om, see common/runtime/convert_om.sh", "")
    rounds: int = flag("evaluations of each format", 3, least=1)
    export_words: str = flag("further words for export.py, such as --skeleton=mine.yaml", "")
    quantize_words: str = flag("further words for quantize.py", "")
    eval_words: str = flag("further words for eval.py, such as '--batch_size=1 --val_images=500'", "")

    @property
    def folder(self) -> Path:
        """Of table and networks."""
        return Path(self.output_dir)

    def file(self, kind: str) -> Path:
        """Where the network of a kind is, or is written to."""
        made = {FLOAT: self.folder / f"{self.network}.onnx", INT8: self.folder / f"{self.network}_int8.onnx"}
        return made.get(kind) or Path(self.om_path if kind == ASCEND else self.checkpoint_path)


def main() -> None:
    """Compares, leaves the table on the screen and in files."""
    config = parse(Config, {})
    if not (config.checkpoint_path and config.data_path):
        raise UserError("--checkpoint_path and --data_path are needed")
    rows = compare(config)
    text = as_markdown(rows, config)
    files.write_atomically(config.folder / "compare.json", (json.dumps(rows, indent=1) + "\n").encode())
    files.write_atomically(config.folder / "compare.md", text.encode())
    print(text, end="")  # noqa: T201  the program's answer


def chosen(words: Sequence[str]) -> list[str]:
    """The formats of `--formats`, and the reference. Raises UserError for a word that matches no name."""
    for word in words:
        if not any(word.lower() in name.lower() for name in FORMATS):
            raise UserError(f"--formats={word}: in none of the names {', '.join(FORMATS)}")
    meant = {name for name in FORMATS for word in words if word.lower() in name.lower()}
    return [name for name in FORMATS if not words or name in {REFERENCE, *meant}]


def compare(config: Config) -> list[Row]:
    """A row for each format; `absent` in it is the reason where it cannot run. Raises UserError for the reference."""
    names = chosen(config.formats)
    missing = make(config, {FORMATS[name][0] for name in names})
    absent = {name: missing[FORMATS[name][0]] for name in names if FORMATS[name][0] in missing}
    found: dict[str, list[Row]] = {name: [] for name in names}
    for _ in range(config.rounds):
        for name in (name for name in names if name not in absent):
            try:
                found[name].append(evaluate(config, name))
            except FailedError as error:
                if name == REFERENCE:
                    raise
                absent[name] = f"not here: {error}"
    expected = found[REFERENCE][0]["people"]
    return [
        {"format": name, "absent": absent[name]}
        if name in absent
        else {"format": name, **summary(found[name], expected, config.file(FORMATS[name][0]))}
        for name in names
    ]


def make(config: Config, kinds: set[str]) -> dict[str, str]:
    """Exports and quantizes as requested; returns the missing kinds of file, and why."""
    missing = {} if config.om_path else {ASCEND: "not here: give --om_path"}
    for kind, program, words in programs(config):
        if FLOAT in missing or not kinds & {kind, INT8}:
            break
        try:
            called(config, program, words)
        except FailedError as error:
            missing |= {kind: f"not here: {error}", INT8: f"not here: {error}"}
    return missing


def programs(config: Config) -> list[tuple[str, str, list[str]]]:
    """How files are made: the kind of file, the program, its arguments."""
    name, network, target = config.network, config.file(FLOAT), config.file(INT8)
    export = [f"--checkpoint_path={config.checkpoint_path}", f"--output_name={network}", "--opset=13"]
    quantize = [f"--model={network}", f"--output_name={target}", f"--data_path={config.data_path}"]
    return [
        (FLOAT, EXPORT.get(name, f"{name}.export"), [*export, *config.export_words.split()]),
        (INT8, QUANTIZE.get(name, f"{name}.quantize"), [*quantize, *config.quantize_words.split()]),
    ]


def evaluation(config: Config, name: str) -> tuple[str, list[str]]:
    """The program that evaluates a format, and its arguments."""
    (kind, more), folder = FORMATS[name], folder_of(config, name)
    words = [f"--checkpoint_path={config.file(kind)}", f"--data_path={config.data_path}", f"--output_dir={folder}"]
    program = EVALUATE.get(config.network, f"{config.network}.eval")
    return program, [*words, f"--log_dir={folder / 'log'}", *config.eval_words.split(), *more]


def folder_of(config: Config, name: str) -> Path:
    """Where the evaluation of a format leaves its files; another network's results must not count for this one."""
    return config.folder / config.network / name.replace(" ", "_")


def called(config: Config, program: str, words: Sequence[str]) -> None:
    """Runs a program of the project to its end. Raises FailedError."""
    runs.complete([sys.executable, "-m", program, *words], config.folder / f"{program}.txt")


def evaluate(config: Config, name: str) -> Row:
    """AP, the people, and ms of the network and of everything for an item. Raises FailedError."""
    called(config, *evaluation(config, name))
    folder = folder_of(config, name)
    record = runs.left(folder / "log")["evaluate"]
    _, parts = runs.item_ms(record)
    people = people_in(folder)
    return {"ap": record["metrics"]["AP"], "network": parts["network"], "total": parts["total"], "people": people}


def people_in(folder: Path) -> Detections:
    """The people of the result file that an evaluation has left. Raises FailedError where there is none."""
    for path in sorted(folder.rglob("*.json")):
        content = files.read_json(path)
        if content == []:
            return no_detections(0)
        if isinstance(content, list) and all(isinstance(one, dict) and "keypoints" in one for one in content):
            keypoints = np.array([np.reshape(one["keypoints"], (-1, 3)) for one in content], np.float64)
            ids, scores = ([one[key] for one in content] for key in ("image_id", "score"))
            return Detections(np.array(ids, np.int64), keypoints, np.array(scores, np.float64))
    raise FailedError(f"{folder}: the evaluation has left no people")


def summary(records: Sequence[Row], expected: Detections, source: Path) -> Row:
    """Of all rounds."""
    distances = keypoint_distances(expected, records[0]["people"])
    network, total = (statistics.median(record[key] for record in records) for key in ("network", "total"))
    return {
        "ap": records[0]["ap"],
        "mean_px": distances.mean,
        "median_px": distances.median,
        "matched": distances.people,
        "people": len(records[0]["people"]),
        "network_ms": network,
        "items_per_s": 1000 / max(total, 1e-9),
        "mb": source.stat().st_size / 1e6 if source.is_file() else None,
    }


def as_markdown(rows: Sequence[Row], config: Config) -> str:
    """The table, and how it was measured."""
    command = f"`python -m tools.compare {' '.join(sys.argv[1:])}`"
    how = f"{command}; medians of {config.rounds} rounds; pixels against {REFERENCE}."
    title, rule = f"# {config.checkpoint_path} in every format", "|---" * (HEAD.count("|") - 1) + "|"
    return "\n".join([title, "", how, "", HEAD, rule, *map(_line, rows)]) + "\n"


def _line(row: Row) -> str:
    if "absent" in row:
        return f"| {row['format']} | {row['absent'].replace('|', '/')} |" + " |" * 6
    mean, median, size = ("-" if row[key] is None else f"{row[key]:.2f}" for key in ("mean_px", "median_px", "mb"))
    matched = f"{row['matched']} of {row['people']}"
    speed = f"{row['network_ms']:.1f} | {row['items_per_s']:.1f}"
    return f"| {row['format']} | {row['ap']:.4f} | {mean} | {median} | {matched} | {speed} | {size} |"


if __name__ == "__main__":
    run(main)
