# SPDX-License-Identifier: Apache-2.0
"""What a GPU or NPU computes, against the CPU, and how fast: a table for each part, written line by line.

See accelerator.sh. Images are drawn (320 x 240), networks begin from random weights. A line that fails says why.
"""

import dataclasses
import json
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import common.coco.mini.dataset
import common.coco.reader
import common.device
import MIPNet.config
from ci import bench, small_runs
from common import cli
from common.cli import UserError, flag
from common.skeleton import COCO
from common.topdown.crops import labelled_people
from tools import networks, runs

LOSS_TOLERANCE, PEOPLE_TOLERANCE = 2e-2, 2e-1  # relative, over 20 steps; of people found in noise
MAP_TOLERANCE = {"float32": 1e-2, "float16": 1e-1}  # parts of the largest value; float32 may be TF32 on a GPU
PARTS = ("correctness", "training", "evaluation", "inference")
LEVELS = ("O0", "O1")
NO_WEIGHTS = {
    "Lightweight_OpenPose": ("--checkpoint_path=none",),
    "AlphaPose": ("--backbone=none",),
    "MIPNet": ("--pretrained=none", "--max_steps=60"),
    "OpenPose_MindSpore_port": ("--vgg_path=none", "--max_steps=60"),
}
SMALL_BATCH = ("--batch_size=4", "--num_workers=1")
SMALL_MAPS = ("--image_size=64,64", "--heatmap_size=16,16", *SMALL_BATCH)
SMALL = {  # what --tiny adds to a training
    "Lightweight_OpenPose": ("--net_input_size=64", *SMALL_BATCH),
    "AlphaPose": ("--model=SimplePose", "--num_layers=18", "--epochs=1", "--sigma=1", *SMALL_MAPS),
    "MIPNet": ("--max_steps=2", *SMALL_MAPS, *MIPNet.config.SMALL_NETWORK),
    "OpenPose_MindSpore_port": ("--insize=64", "--max_steps=1", *SMALL_BATCH),
}
SMALL_EVALUATION = {
    "Lightweight_OpenPose": ("--base_height=64",),
    "OpenPose_MindSpore_port": ("--inference_img_size=64",),
}


@dataclass(frozen=True)
class Options:
    """Measures a GPU or NPU in ten minutes, and writes what it finds as it goes."""

    device: common.device.DeviceName = flag("what to measure", "auto")
    data_path: str = flag("COCO folder for training and evaluation, a small one; empty: drawn images", "")
    output: str = flag("the file; empty: ci/results/accelerator_<machine>_<date>.md", "")
    only: tuple[str, ...] = flag(f"parts ({', '.join(PARTS)}) and directories, comma separated; empty: all", ())
    limit: float = flag("seconds after which one program is ended", 150.0, above=0)
    tiny: bool = flag("small networks and two steps: whether the script works", False)

    def chosen(self, names: Sequence[str]) -> list[str]:
        """Those of some names that `--only` leaves."""
        return [name for name in names if name in self.only] or list(names)


@dataclass
class Report:
    """The file of results; every line is there as soon as it is known."""

    path: Path
    failed: int = 0

    def write(self, *lines: str) -> None:
        """Adds lines, on the screen too."""
        with self.path.open("a") as file:
            file.writelines(f"{line}\n" for line in lines)
        print(*lines, sep="\n", flush=True)

    def part(self, title: str, *columns: str) -> None:
        """Begins a table."""
        heads = [*columns, "s"]
        self.write("", f"## {title}", "", f"| {' | '.join(heads)} |", "|---" * len(heads) + "|")

    def line(self, name: str, measure: Callable[[], Sequence[Sequence[str]]]) -> None:
        """The rows that `measure` returns behind their name; one with the reason where it fails."""
        began = time.perf_counter()
        try:
            rows = measure()
        except Exception as error:  # noqa: BLE001  whatever it is, the other lines follow
            self.failed += 1
            rows = [[f"FAILED: {' '.join(str(error).split()) or type(error).__name__}".replace("|", "/")]]
        for row in rows:
            self.write(f"| {' | '.join([name, *row])} | {time.perf_counter() - began:.0f} |")


@dataclass
class Measurement:
    """Runs the programs; is a `small_runs.Runner`."""

    options: Options
    device: str
    folder: Path
    data_path: Path
    num_people: int
    num_steps: int
    many_images: Path  # a data set to measure with

    def run(self, words: list[str], npu: bool = True) -> None:
        """See `small_runs.Runner`."""
        self.complete([sys.executable, *words])

    def complete(self, command: Sequence[str]) -> Path:
        """Runs a command; returns the file of what it said. Raises FailedError."""
        said = self.folder / f"said_{len(list(self.folder.glob('said_*')))}.txt"
        runs.complete(command, said, bench.ROOT, self.options.limit)
        return said

    def launched(self, name: str, script: str, *words: str) -> runs.Records:
        """The records that a launcher leaves."""
        output = self.output(name)
        flags = small_runs.as_flags(device=self.device, output_dir=output, log_dir=output / "log")
        launcher = str(bench.ROOT / name / "test" / script)
        self.complete(["bash", launcher, f"--data_path={self.many_images}", *flags, *words])
        return runs.left(output / "log")

    def side(self, name: str) -> "Measurement":
        """The same with a folder of its own."""
        return dataclasses.replace(self, folder=self.folder / name)

    def output(self, name: str) -> Path:
        """Where the trainings of a directory leave their checkpoints."""
        return self.folder / name


def main() -> None:
    """Exit code 1 where a line failed."""
    options = cli.parse(Options, {})
    if unknown := [word for word in options.only if word not in (*PARTS, *networks.PUBLISHED)]:
        raise UserError(f"--only={unknown[0]}: choose from {', '.join((*PARTS, *networks.PUBLISHED))}")
    device = common.device.resolve(options.device)
    path = Path(options.output) if options.output else bench.result_file("accelerator")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.unlink(missing_ok=True)
    report, began = Report(path), time.perf_counter()
    report.write(f"# {common.device.describe(device)}", "", *bench.facts(f"bash ci/accelerator.sh {shown()}".strip()))
    with tempfile.TemporaryDirectory(prefix="accelerator_") as folder:
        measurement = prepare(options, device.type, Path(folder))
        for part in options.chosen(PARTS):
            MEASURE[part](report, measurement)
    report.write("", f"{report.failed} lines failed, {time.perf_counter() - began:.0f} s")
    sys.exit(bool(report.failed))


def shown() -> str:
    """The words of the command."""
    return " ".join(sys.argv[1:])


def prepare(options: Options, device: str, folder: Path) -> Measurement:
    """Draws the images: a few for the steps and to find people in, many to measure with."""
    steps, few, many = (2, (6, 4), None) if options.tiny else (20, (48, 20), (640, 100))
    small = common.coco.mini.dataset.write(folder / "few", *few)
    large = Path(options.data_path) if options.data_path else small
    if many and not options.data_path:
        large = common.coco.mini.dataset.write(folder / "many", *many)
    annotations = small / "annotations" / "person_keypoints_train2017.json"
    people = len(labelled_people(common.coco.reader.load(annotations, COCO.num_keypoints), lenient=True))
    return Measurement(options, device, folder, small, people, steps, large.resolve())


def measure_correctness(report: Report, it: Measurement) -> None:
    """Losses of the first steps, and people, against the CPU."""
    report.part(f"Correctness: {it.num_steps} steps and people, against the CPU", "what", "largest difference")
    small = {one.name: one for one in (small_runs.LIGHTWEIGHT, *small_runs.TOP_DOWN_AND_PORT)}
    for name in it.options.chosen(list(small)):
        report.line(f"{name}: losses", lambda one=small[name]: compare_losses(one, it))
        if small[name].evaluation:
            report.line(f"{name}: people", lambda one=small[name]: compare_people(one, it))


def compare_losses(one: small_runs.Small, it: Measurement) -> list[list[str]]:
    """Trains on both. Raises CheckError where they differ."""
    reference = one.train(it.side("cpu"), "cpu")
    found = small_runs.largest_difference(one.train(it.side("device"), it.device), reference, it.num_steps)
    if not found <= LOSS_TOLERANCE:
        raise small_runs.CheckError(f"{found:.1e}; allowed: {LOSS_TOLERANCE:.0e}")
    return [[f"{found:.1e}"]]


def compare_people(one: small_runs.Small, it: Measurement) -> list[list[str]]:
    """Evaluates the network that the CPU has trained on both. Raises CheckError where they differ."""
    cpu, device = it.side("cpu"), it.side("device")
    checkpoint = one.output(cpu, "cpu") / one.run / "last.pth"
    if one is small_runs.LIGHTWEIGHT:
        checkpoint = small_runs.loud_checkpoint(checkpoint, it.folder / "loud.pth")
    theirs, mine = one.evaluate(cpu, "cpu", checkpoint), one.evaluate(device, it.device, checkpoint)
    return [[small_runs.compare_evaluations(mine, theirs, PEOPLE_TOLERANCE)]]


def measure_training(report: Report, it: Measurement) -> None:
    """Images a second of the performance recipes, with data loading."""
    report.part("Training: train_performance_1p.sh", "what", "images/s", "waits for data", "peak memory, MB")
    for name in it.options.chosen(list(NO_WEIGHTS)):
        for level in LEVELS[-1:] if it.options.tiny else LEVELS:
            report.line(f"{name}, {level}", lambda name=name, level=level: train(it, name, level))


def train(it: Measurement, name: str, level: str) -> list[list[str]]:
    """One training."""
    small = SMALL[name] if it.options.tiny else ()
    end = it.launched(name, "train_performance_1p.sh", *NO_WEIGHTS[name], *small, f"--amp={level}")["end"]
    waits = end["data_s"] / max(end["step_s"], 1e-9)
    return [[f"{end['images_per_s']:.1f}", f"{100 * waits:.0f} %", f"{end['peak_memory_bytes'] / 1e6:.0f}"]]


def measure_evaluation(report: Report, it: Measurement) -> None:
    """Items a second, and the time of an item."""
    title = "Evaluation: eval.sh of the network that the training left; parts run side by side"
    report.part(title, "what", "items/s", "ms of an item: read, network, decode and others")
    for name in it.options.chosen(list(NO_WEIGHTS)):
        report.line(name, lambda name=name: evaluate(it, name))


def evaluate(it: Measurement, name: str) -> list[list[str]]:
    """One evaluation, of a network that is trained first where there is none."""
    if not (found := list(it.output(name).rglob("last.pth"))):
        train(it, name, LEVELS[0])
        found = list(it.output(name).rglob("last.pth"))
    small = SMALL_EVALUATION.get(name, ()) if it.options.tiny else ()
    record = it.launched(name, "eval.sh", f"--checkpoint_path={found[0]}", *small)["evaluate"]
    items, parts = runs.item_ms(record)
    split = ", ".join(f"{part} {ms:.2f}" for part, ms in parts.items() if part != "total")
    return [[f"{1000 / max(parts['total'], 1e-9):.1f} {items}/s", split]]


def measure_inference(report: Report, it: Measurement) -> None:
    """Of the published networks, from arrays of the host to arrays of the host."""
    columns = ("precision", "batch", "ms", "images/s", "peak memory, MB", "maps against the CPU")
    report.part("Inference: the networks as published, host to host", "what", *columns)
    for name in it.options.chosen(list(networks.PUBLISHED)):
        report.line(name, lambda name=name: infer(it, name))


def infer(it: Measurement, name: str) -> list[list[str]]:
    """One network, in a process of its own. Raises CheckError where its maps are others."""
    words = [f"--network={name}", f"--device={it.device}"]
    words += ["--size=64,64", "--calls=1", "--batches=1"] if it.options.tiny else []
    said = it.complete([sys.executable, "-m", "ci.inference_speed", *words])
    rows = json.loads(said.read_text().splitlines()[-1])
    for row in rows:
        if not row["difference"] <= (allowed := MAP_TOLERANCE[row["precision"]]):
            raise small_runs.CheckError(
                f"{row['precision']}: maps differ by {row['difference']:.1e}; allowed: {allowed}"
            )
    return [
        [row["precision"], str(row["batch"]), f"{row['ms']:.1f}", f"{row['images_per_s']:.1f}"]
        + [f"{row['peak_mb']:.0f}", f"{row['difference']:.1e}"]
        for row in rows
    ]


MEASURE: dict[str, Callable[[Report, Measurement], None]] = dict(
    zip(PARTS, (measure_correctness, measure_training, measure_evaluation, measure_inference), strict=True)
)

if __name__ == "__main__":
    cli.run(main)
