# SPDX-License-Identifier: Apache-2.0
"""Memory of the chain over 5,000 images, as many as COCO's val2017 has: in memory, and of the postprocessing of dumps.

Each program runs twice, over a tenth of the images and over all. What it needs at its peak must not grow with them.
The images are few that have many names, so reading them is real and drawing them takes no time.
"""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import common.coco.images
from common.cli import UserError
from common.coco.mini import dataset
from common.test.programs import environment
from Lightweight_OpenPose.export import export_onnx
from OpenPose_infer.config import HEIGHT, WIDTH
from OpenPose_infer.test import blobs, ideal_dumps

TITLE = "Memory of offline inference over 500 and over 5,000 images of 368 x 640; megabytes at the peak"
SLOW = False
IMAGES, DRAWN = 5000, 50
OPSET = 11
# the process that was waited for tells its peak, in KiB
MEASURED = "import resource, subprocess, sys; code = subprocess.call(sys.argv[1:], stdout=sys.stderr); \
print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss); sys.exit(code)"


def measure(runs: int) -> list[dict]:
    """Rows of peaks; one run each, for memory does not scatter."""
    with tempfile.TemporaryDirectory() as name:
        return [_in_memory(Path(name) / "in_memory"), _postprocessing(Path(name) / "dumps")]


def _in_memory(folder: Path) -> dict:
    """infer.py with a narrow network that finds somebody in every image."""
    small = blobs.write_data(folder, DRAWN)
    onnx = folder / "small.onnx"
    export_onnx(blobs.finder(blobs.Small()).eval(), onnx, OPSET, (0, HEIGHT, WIDTH))
    images = small / "val2017"

    def command(count: int) -> list[str]:
        labels = multiplied(common.coco.images.annotation_file(small, "val"), images, count)
        return ["OpenPose_infer.infer", f"--model={onnx}", f"--labels={labels}", f"--images_folder={images}",
                f"--skeleton={small / 'blobs.yaml'}", "--device=cpu", f"--output_dir={folder / 'out'}"]  # fmt: skip

    return _row("infer.py, the chain in memory", command)


def _postprocessing(folder: Path) -> dict:
    """OpenPose_postprocess.py over the binary dumps of a perfect network."""
    ideal = ideal_dumps.write(dataset.write(folder, num_train=1, num_val=DRAWN), folder, binary=True)

    def command(count: int) -> list[str]:
        labels, pads = multiplied(ideal.labels, None, count), multiplied_dumps(ideal, count)
        return ["OpenPose_infer.OpenPose_postprocess", f"--benchmark_result_path={ideal.folder}", f"--labels={labels}",
                f"--pad_txt_path={pads}", f"--detections_save_path={folder / 'result.json'}"]  # fmt: skip

    return _row("OpenPose_postprocess.py, binary dumps", command)


def multiplied_dumps(ideal: ideal_dumps.Ideal, count: int) -> Path:
    """Links the dumps of so many images, each under the name of its image; their pad.txt."""
    few, many = ideal.pad_file.read_text().splitlines(keepends=True), []
    for number in range(count):
        line = few[number % DRAWN]
        original = Path(line.split()[0]).stem
        name = renamed(original, number)
        for path in ideal.folder.glob(f"{original}_?.bin"):
            link(path, path.with_name(path.name.replace(original, name)))
        many.append(line.replace(original, name))
    pads = ideal.pad_file.with_name(f"pad_{count}.txt")
    pads.write_text("".join(many))
    return pads


def multiplied(labels: Path, images: Path | None, count: int) -> Path:
    """An annotation file with so many images, each one of the few under another name and id; links the images.

    Without the outlines of people: those of drawn ones are ten times as long as COCO's, and no keypoint needs them.
    """
    content = json.loads(labels.read_text())
    few, people = content["images"], content["annotations"]
    people = [person if person["iscrowd"] else {**person, "segmentation": []} for person in people]
    content["images"], content["annotations"] = [], []
    for number in range(count):
        original = few[number % len(few)]
        path = Path(original["file_name"])
        name = renamed(path.stem, number) + path.suffix
        if images is not None:
            link(images / path, images / name)
        content["images"].append({**original, "id": number + 1, "file_name": name})
        content["annotations"] += [
            {**person, "id": len(content["annotations"]) + at + 1, "image_id": number + 1}
            for at, person in enumerate(one for one in people if one["image_id"] == original["id"])
        ]
    path = labels.with_name(f"many_{count}.json")
    path.write_text(json.dumps(content))
    return path


def renamed(stem: str, number: int) -> str:
    """The name of the image with this number; the first ones keep theirs."""
    return stem if number < DRAWN else f"{stem}x{number}"


def link(source: Path, target: Path) -> None:
    """Another name of a file, unless it has it."""
    if not target.exists():
        os.link(source, target)


def _row(what: str, command: Callable[[int], list[str]]) -> dict:
    few, many = (_peak_mb(command(count)) for count in (IMAGES // 10, IMAGES))
    return {"what": what, f"MB of {IMAGES // 10} images": few, f"MB of {IMAGES} images": many, "growth": many / few}


def _peak_mb(words: list[str]) -> float:
    done = subprocess.run(
        [sys.executable, "-c", MEASURED, sys.executable, "-m", *words], capture_output=True, text=True,
        env=environment(OMP_NUM_THREADS="2"), check=False,
    )  # fmt: skip
    if done.returncode:
        raise UserError(done.stderr.strip())
    return int(done.stdout) * 1024 / 1e6
