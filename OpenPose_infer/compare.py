# SPDX-License-Identifier: Apache-2.0
"""One network in every format that runs here: does it find the same people, and how fast.

python -m OpenPose_infer.compare --checkpoint_path=model_best.pth --data_path=/data/coco --output_dir=compare_output
python -m OpenPose_infer.compare --checkpoint_path=model_best.pth --data_path=mini --formats=pytorch,openvino

Writes compare.md, compare.json and the networks in ONNX, float32 and INT8, into --output_dir. A format that cannot run
here stays in the table, with the reason. Times are taken in rounds, every format in turn, on otherwise idle cores.
"""

import dataclasses
import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import common.device
import common.skeleton
from common.arrays import Float32Array
from common.cli import UserError, flag, parse, run
from common.coco.evaluate import Detections, EvaluationSet
from common.device import DeviceName
from common.files import write_atomically
from common.runtime.quantize import Flags, RefusedError, calibration_images, say
from common.runtime.quantize import quantize as quantize_network
from common.runtime.session import Options, Session
from common.skeleton import Skeleton
from common.train import published
from Lightweight_OpenPose import export, weights
from Lightweight_OpenPose.config import DIRECTORY
from Lightweight_OpenPose.eval import evaluate
from Lightweight_OpenPose.predict import InputRule, PoseEstimator
from OpenPose_infer import quantize
from OpenPose_infer.config import HEIGHT, WEIGHT_FOLDERS, WIDTH
from OpenPose_infer.data import DataFlags, data_path, evaluation_set
from OpenPose_infer.formats import ASCEND, CHECKPOINT, FLOAT, FORMATS, INT8, REFERENCE, Files, chosen, open_formats
from OpenPose_infer.matching import keypoint_distances

import numpy as np

PAUSE_S = 0.02  # between two formats: the threads of the one before spin a little before they sleep
OPSET = 13
Row = dict[str, Any]
Maps = tuple[Float32Array, Float32Array]  # heatmaps (1, num_heatmaps, h, w) and pafs (1, num_pafs, h, w), float32


@dataclass(frozen=True)
class Config(DataFlags):
    """Compares a checkpoint of Lightweight OpenPose in all formats."""

    checkpoint_path: str = flag("a file or a published name", "")
    output_dir: str = flag("folder for table and networks", "compare_output")
    formats: tuple[str, ...] = flag("parts of their names, comma separated; empty: all", ())
    om_path: str = flag("the network as .om, which convert_om.sh writes", "")
    height: int = flag("of the network's input, pixels", HEIGHT, least=1, most=16384)
    width: int = flag("of the network's input, pixels", WIDTH, least=1, most=16384)
    device: DeviceName = flag("where PyTorch and ONNX Runtime compute; OpenVINO and INT8: on the CPU", "auto")
    device_id: int = flag("which of these devices", 0, most=1024)
    threads: int = flag("of a CPU; 0: as many as PyTorch uses", 0, most=1024)
    rounds: int = flag("timed calls of each format", 20, least=1)
    batch_size: int = flag("images at once where throughput is measured", 1, least=1, most=10**6)
    map_images: int = flag("compare the maps of so many images", 8, least=1)
    calibration_path: str = flag("for INT8, see quantize.py", "")
    calibration_images: int = flag("for INT8, see quantize.py", 32, least=1)
    max_ap_drop: float = flag("for INT8, see quantize.py", 0.002, most=1)


def main() -> None:
    """Reads the flags, compares, leaves the table on the screen and in files."""
    config = parse(Config, {}, aliases={"val_labels": "labels", "val_images_folder": "images_folder"})
    if not config.checkpoint_path:
        raise UserError("--checkpoint_path is needed: a file, or one of " + published.names(DIRECTORY))
    rows = compare(config)
    folder = Path(config.output_dir)
    content = {"settings": dataclasses.asdict(config), "formats": rows}
    write_atomically(folder / "compare.json", (json.dumps(content, indent=2) + "\n").encode())
    write_atomically(folder / "compare.md", (as_markdown(rows, config) + "\n").encode())
    say(as_markdown(rows, config))


def compare(config: Config) -> list[Row]:
    """A row for each format; `absent` in it is the reason where it cannot run. Raises UserError."""
    names = chosen(config.formats)
    skeleton = common.skeleton.load(config.skeleton)
    folder = data_path(config)
    validation = evaluation_set(config, folder, skeleton)
    rule = InputRule(fixed_size=(config.height, config.width))
    arrays = _inputs(validation, rule, config.map_images)
    options = Options(config.device, config.device_id, threads=config.threads)
    files = _files(config, names, skeleton, validation, folder)
    sessions, absent = open_formats(names, files, options, skeleton, lambda session: _try(session, arrays[0]))
    measured = _accuracy(sessions, validation, rule, skeleton, arrays)
    timed = _times(sessions, arrays[0], config)
    rows = []
    for name in names:
        if name in absent:
            rows.append({"format": name, "absent": absent[name]})
        else:
            runtime = sessions[name].runtime
            if FORMATS[name].file == INT8:  # float32 is what is left of the arithmetic
                runtime = runtime.replace("float32", "int8")
            size: Row = {"mb": Path(sessions[name].source).stat().st_size / 1e6}
            rows.append({"format": name, "runtime": runtime, **measured[name], **timed[name], **size})
    return rows


def _inputs(validation: EvaluationSet, rule: InputRule, count: int) -> list[Float32Array]:
    """(1, 3, H, W) float32 of the first images."""
    paths = [validation.folder / validation.index.file_name(row) for row in validation.rows[:count].tolist()]
    return list(quantize.inputs(paths, rule))


def _files(config: Config, names: Sequence[str], skeleton: Skeleton, validation: EvaluationSet, folder: Path) -> Files:
    """The network as each kind of file: exported here, quantised here."""
    checkpoint = weights.locate(config.checkpoint_path, WEIGHT_FOLDERS)
    target = Path(config.output_dir) / "network.onnx"
    paths, missing = {CHECKPOINT: checkpoint}, {ASCEND: "not here: give --om_path, which convert_om.sh writes"}
    if config.om_path:
        paths[ASCEND] = Path(config.om_path)
    kinds = {FORMATS[name].file for name in names}
    images: list[Path] = []
    if INT8 in kinds:
        calibration = quantize.calibration_folder(config.calibration_path, folder, validation)
        images = calibration_images(calibration, config.calibration_images)
    network = weights.load_network(checkpoint, skeleton)
    try:
        if kinds & {FLOAT, INT8}:
            export.export_onnx(network, target, OPSET, (0, config.height, config.width))
            paths[FLOAT] = target
        if INT8 in kinds:
            paths[INT8] = _quantise(config, target, skeleton, validation, images)
    except RefusedError as refused:
        missing[INT8] = f"refused: {refused}"
    except UserError as error:  # onnx or onnxruntime is not installed, or the export differs
        missing.update(dict.fromkeys({FLOAT, INT8} - set(paths), f"not here: {error}"))
    return Files(paths, missing)


def _quantise(config: Config, source: Path, skeleton: Skeleton, validation: EvaluationSet, images: list[Path]) -> Path:
    """Writes the INT8 network. Raises RefusedError: then the one of an earlier run, of other weights, is gone too."""
    target = source.with_name("network_int8.onnx")
    for old in (target, target.with_suffix(".json")):
        old.unlink(missing_ok=True)
    flags = Flags(str(source), str(target), config.max_ap_drop, threads=config.threads)
    rule = InputRule(fixed_size=(config.height, config.width))
    quantize_network(flags, quantize.task_of(images, validation, skeleton, rule))
    return target


def _try(session: Session, array: Float32Array) -> None:
    """Raises where a runtime opens a network that it cannot compute."""
    session(np.repeat(array, session.fixed_batch or 1, 0))


def _accuracy(
    sessions: Mapping[str, Session],
    validation: EvaluationSet,
    rule: InputRule,
    skeleton: Skeleton,
    arrays: list[Float32Array],
) -> dict[str, Row]:
    """AP, and what differs from the reference: maps as parts of their largest value, keypoints in original pixels."""
    wanted: list[Maps] = []
    people: Detections | None = None
    rows = {}
    for name, session in sessions.items():  # the reference comes first
        forward = _single(session)
        result = evaluate(PoseEstimator.of_session(session, skeleton), validation, rule, session.fixed_batch or 1)
        wanted = wanted or [forward(array) for array in arrays]
        people = result.detections if people is None else people
        distances = keypoint_distances(people, result.detections)
        rows[name] = {
            "ap": result.metrics["AP"],
            "people": len(result.detections),
            "matched_people": distances.people,
            "map_difference": _map_difference(wanted, [forward(array) for array in arrays]),
            "keypoint_mean_px": distances.mean,
            "keypoint_median_px": distances.median,
        }
        say(f"{name}: AP {result.metrics['AP']:.4f}")
    return rows


def _map_difference(wanted: Sequence[Maps], found: Sequence[Maps]) -> float:
    """The largest of heatmaps and of pafs, as a part of their largest value."""
    stacked = zip(zip(*wanted, strict=True), zip(*found, strict=True), strict=True)
    kinds = [(np.concatenate(mine), np.concatenate(theirs)) for mine, theirs in stacked]
    return max(float(np.abs(mine - theirs).max() / np.abs(mine).max()) for mine, theirs in kinds)


def _single(session: Session) -> Callable[[Float32Array], Maps]:
    """The last heatmaps and pafs of one image."""
    batch = session.fixed_batch or 1

    def forward(array: Float32Array) -> Maps:
        heatmaps, pafs = (maps[:1] for maps in session(np.repeat(array, batch, 0))[-2:])
        return heatmaps, pafs

    return forward


def _times(sessions: Mapping[str, Session], array: Float32Array, config: Config) -> dict[str, Row]:
    """Milliseconds of one image alone, images a second in batches: medians over rounds through all formats."""
    batches = {name: session.fixed_batch or config.batch_size for name, session in sessions.items()}
    alone: dict[str, list[float]] = {name: [] for name in sessions}
    together: dict[str, list[float]] = {name: [] for name in sessions}
    for number in range(config.rounds + 1):
        for name, session in sessions.items():
            for times, batch in ((alone, session.fixed_batch or 1), (together, batches[name])):
                spent = _call_seconds(session, np.repeat(array, batch, 0))
                times[name] += [spent] if number else []  # the first round warms up
            time.sleep(PAUSE_S)
    return {
        name: {
            "latency_ms": 1000 * float(np.median(alone[name])),
            "speed_up": float(np.median(np.array(alone[REFERENCE]) / np.array(alone[name]))),  # paired
            "images_a_second": batches[name] / float(np.median(together[name])),
            "batch_size": batches[name],
        }
        for name in sessions
    }


def _call_seconds(session: Session, array: Float32Array) -> float:
    began = time.perf_counter()
    session(array)  # its result is on the host: nothing is left running
    return time.perf_counter() - began


def as_markdown(rows: Sequence[Row], config: Config) -> str:
    """The table, and how it was measured."""
    where = common.device.describe(common.device.resolve(config.device, config.device_id))
    lines = [
        f"# {config.checkpoint_path} in every format",
        "",
        f"Input {config.height} x {config.width}; {where}; median of {config.rounds} rounds, formats in turn. "
        f"Differences are against {REFERENCE}: of maps as a part of the largest value, of keypoints in pixels of the "
        "image. Throughput in batches as given.",
        "",
        "| format | AP | largest map difference | keypoints, mean px | median px | matched people | latency, ms "
        "| speed-up | images/s (batch) | MB | runtime |",
        "|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    return "\n".join(lines + [_line(row) for row in rows])


def _line(row: Row) -> str:
    if "absent" in row:
        return f"| {row['format']} | {row['absent'].replace('|', '/')} |" + " |" * 9
    mean, median = (
        "-" if row[name] is None else f"{row[name]:.2f}" for name in ("keypoint_mean_px", "keypoint_median_px")
    )
    return (
        f"| {row['format']} | {row['ap']:.4f} | {row['map_difference']:.1e} | {mean} | {median} "
        f"| {row['matched_people']} of {row['people']} | {row['latency_ms']:.1f} | {row['speed_up']:.2f}x "
        f"| {row['images_a_second']:.1f} ({row['batch_size']}) | {row['mb']:.1f} | {row['runtime']} |"
    )


if __name__ == "__main__":
    run(main)
