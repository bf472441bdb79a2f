# SPDX-License-Identifier: Apache-2.0
"""Types the printed lines of the published instructions, in their order, and counts those that work.

python ci/published_commands.py              with the Python that runs this; minutes
python ci/published_commands.py --install    in new environments, after the printed pip install alone
python ci/published_commands.py --only=AlphaPose

The lines are in ci/golden/published_commands.txt. Each directory is copied with common/ alone into a folder that goes
away, beside drawn data and small random weights; nothing of the project is on Python's path.
"""

import os
import re
import subprocess
import sys
import tempfile
import venv
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from common import cli
from common.coco.mini import dataset
from Lightweight_OpenPose.model import PoseEstimationWithMobileNet

import alone
import project
import torch
from torch import nn

LINES = project.ROOT / "ci" / "golden" / "published_commands.txt"
DEADLINE_S = 900
SMALL = {
    "Lightweight_OpenPose": "--device=cpu --net_input_size=64 --base_height=64 --batch_size=4 --num_workers=1 --amp=O0",
    "AlphaPose": "--device=cpu --model=SimplePose --num_layers=18 --image_size=64,32 --heatmap_size=16,8 --sigma=1 "
    "--batch_size=4 --num_workers=1 --backbone=none --amp=O0",
    "MIPNet": "--device=cpu --image_size=64,64 --heatmap_size=16,16 --batch_size=4 --max_steps=2 --num_workers=1 "
    "--pretrained=none --amp=O0",
    "OpenPose_MindSpore_port": "--device=cpu --vgg_path=none --insize=64 --batch_size=1 --max_steps=1 --epochs=1 "
    "--eval_freq=0 --num_workers=1 --amp=O0",
}
RANK_TABLE = (
    '{"version": "1.0", "server_count": "1", "server_list": [{"server_id": "127.0.0.1", "device": ['
    '{"device_id": "0", "device_ip": "127.0.0.1", "rank_id": "0"},'
    '{"device_id": "1", "device_ip": "127.0.0.1", "rank_id": "1"}], "host_nic_ip": "reserve"}], "status": "completed"}'
)


@dataclass(frozen=True)
class Options:
    """Types the printed lines of the published instructions, and counts those that work."""

    only: str = cli.flag("one directory; empty: all", "")
    install: bool = cli.flag("type the printed pip install too, in an environment of each directory", False)


@dataclass(frozen=True)
class Line:
    """A printed line: its directory, what makes it small, the words of the answer where it has no meaning here."""

    directory: str
    text: str
    small: str = ""
    answer: str = ""


def lines() -> Iterator[Line]:
    """The lines of the list, in their order."""
    directory = ""
    for line in LINES.read_text().splitlines():
        if line.startswith("["):
            directory = line.strip("[]")
        elif line and not line.startswith("#"):
            text, _, answer = line.partition(" => ")
            text, _, small = text.partition(" ## ")
            yield Line(directory, text, small, answer)


def prepare(work: Path, model: str) -> dict[str, str]:
    """A copy of the directory with data and weights beside it; returns the values of the words in braces."""
    alone.main(model, str(work))
    data = dataset.write(work / "data", num_train=8, num_val=4)
    folder = work / model
    (folder / "weights").mkdir(exist_ok=True)
    (folder / "rank_table.json").write_text(RANK_TABLE)
    (folder / "dataset").symlink_to(data)
    torch.manual_seed(0)
    pose = {"state_dict": PoseEstimationWithMobileNet(1, 19, 38).state_dict()}
    for name in ("checkpoint_iter_370000.pth", "mobilenet_sgd_68.848.pth.tar"):
        torch.save(pose, folder / "weights" / name)
    torch.save(vgg19().state_dict(), folder / "weights" / "vgg19-dcbb9e9d.pth")
    image = min(path.name for path in (data / "val2017").iterdir())
    return {
        "data": str(data),
        "weights": str(folder / "weights"),
        "image": image,
        "last": "0",
        "small": SMALL.get(model, ""),
    }


def vgg19() -> nn.Module:
    """The ten convolutions that OpenPose takes of VGG19, under torchvision's names, with random weights."""
    sizes = {
        0: (3, 64),
        2: (64, 64),
        5: (64, 128),
        7: (128, 128),
        10: (128, 256),
        12: (256, 256),
        14: (256, 256),
        16: (256, 256),
        19: (256, 512),
        21: (512, 512),
    }
    return nn.ModuleDict({"features": nn.ModuleDict({str(i): nn.Conv2d(*size, 3) for i, size in sizes.items()})})


def environment(work: Path, install: bool) -> dict[str, str]:
    """Variables under which `python` and `pip` are those of a new environment, or those that run this program."""
    folder = work / "environment"
    if install:
        venv.create(folder, with_pip=True)
    else:
        (folder / "bin").mkdir(parents=True)
        for name in ("python", "python3"):
            (folder / "bin" / name).write_text(f'#!/bin/sh\nexec "{sys.executable}" "$@"\n')
            (folder / "bin" / name).chmod(0o755)
    kept = {name: value for name, value in os.environ.items() if name not in ("PYTHON", "PYTHONPATH", "VIRTUAL_ENV")}
    return {**kept, "PATH": f"{folder / 'bin'}:{kept['PATH']}", "OMP_NUM_THREADS": "1"}


def typed(line: Line, folder: Path, words: dict[str, str], variables: dict[str, str]) -> str:
    """Types a line; returns "" where it worked or was answered as promised, else the end of its output."""
    command = re.sub(r"\{(\w+)\}", lambda match: words[match[1]], f"{line.text} {line.small}")
    run = subprocess.run(
        ["bash", "-c", command],
        cwd=folder,
        env=variables,
        capture_output=True,
        text=True,
        timeout=DEADLINE_S,
        check=False,
    )
    output = run.stdout + run.stderr
    good = line.answer in output and run.returncode != 0 if line.answer else run.returncode == 0
    return "" if good else f"exit code {run.returncode}: {' / '.join(output.strip().splitlines()[-4:])}"


def main() -> None:
    """Types all lines, prints each with its outcome; exit code 1 where one failed."""
    options = cli.parse(Options, {})
    count = failed = 0
    for model in [name for name in project.model_directories() if options.only in ("", name)]:
        with tempfile.TemporaryDirectory(prefix="published_") as folder:
            words, variables = prepare(Path(folder), model), environment(Path(folder), options.install)
            for line in [line for line in lines() if line.directory == model]:
                if line.text.startswith("pip ") and not options.install:
                    continue
                fault = typed(line, Path(folder) / model, words, variables)
                count, failed = count + 1, failed + bool(fault)
                print(f"{'FAILED' if fault else 'works '} {model}: {line.text}", fault, sep="\n  " if fault else "")
                sys.stdout.flush()
    print(f"{count - failed} of {count} lines work")
    sys.exit(bool(failed))


if __name__ == "__main__":
    cli.run(main)
