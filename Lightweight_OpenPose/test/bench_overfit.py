# SPDX-License-Identifier: Apache-2.0
"""Training on real images works: a network that sees a few labelled images again and again finds the people in them.

The AP on these images is set against the decoder's ceiling there: that of their ideal maps. It begins with the network
that `bash ci/quickstart.sh` leaves, which has seen drawn people only. An hour or two on two cores; a run that was
stopped goes on where it was. Needs ../shared/data/coco-mini.
"""

from dataclasses import dataclass
from pathlib import Path

from common.cli import UserError
from common.skeleton import OPENPOSE
from common.test import overfit
from Lightweight_OpenPose.decode import DecodeRules
from Lightweight_OpenPose.test import ideal_maps
from Lightweight_OpenPose.test.programs import ROOT, TEST, module

TITLE = "Overfitting the labelled coco-mini training images, from the quickstart's network of drawn people"
SLOW = True
EPOCHS_A_RUN = 100  # --runs=6 trains for 636 epochs
BASE_HEIGHT = 368
DRAWN = ROOT / "quickstart" / "smoke_checkpoints" / "model_best.pth"
FLAGS = (
    "--step=1", "--amp=O0", "--num_refinement_stages=0", "--rotation=0", "--flip=0", "--batch_size=4",
    "--lr_drop_factor=0.3", "--weight_decay=0", "--val_images=0", "--print_freq=16",
    f"--base_height={BASE_HEIGHT}", "--weights_only",
)  # fmt: skip


@dataclass(frozen=True)
class Part:
    """A part of the training; small crops are quick, but the largest people of the evaluation do not fit into them. In
    the last two the weights are averaged over some hundred steps."""

    name: str
    share: float  # of `runs` hundred epochs
    flags: tuple[str, ...]
    lr_drops: tuple[float, ...]  # after these shares of its epochs
    evaluations: int = 5  # the best of them is kept


LARGE = ("--net_input_size=256", "--person_height=0.9", "--scale_min=0.15", "--scale_max=1.4")
PARTS = (
    Part("small_crops", 1 / 2,
         ("--base_lr=7e-4", "--net_input_size=192", "--person_height=0.8", "--scale_min=0.25", "--scale_max=1.25"),
         (1.0,)),
    Part("large_crops", 1 / 3, ("--base_lr=7e-4", *LARGE), (0.7, 0.9)),
    Part("averaged", 1 / 6, ("--base_lr=3e-4", *LARGE, "--ema_decay=0.998"), (0.75,)),
    Part("as_evaluated", 3 / 50,
         ("--base_lr=5e-4", f"--net_input_size={BASE_HEIGHT}", "--person_height=1", "--scale_min=0.1",
          "--scale_max=1.1", "--ema_decay=0.998"),
         (1.0,), evaluations=12),
)  # fmt: skip


def measure(runs: int) -> list[dict]:
    """Trains for some more than `runs` hundred epochs; the AP at each evaluation."""
    if not DRAWN.is_file():
        raise UserError(f"{DRAWN} is not there: run `bash ci/quickstart.sh` first")
    work = overfit.work_folder("lightweight_openpose")
    ceiling = ideal_maps.average_precision_of_ideal_maps(
        overfit.COCO_MINI, "train", OPENPOSE, DecodeRules(), BASE_HEIGHT
    )
    start, rows = DRAWN, []
    for part in PARTS:
        _train(part, round(EPOCHS_A_RUN * runs * part.share), start, work)
        folder = work / f"{part.name}_checkpoints"
        start = folder / "model_best.pth"
        rows += [{"part": part.name, **row} for row in overfit.curve(folder / "metrics.jsonl", ceiling["AP"])]
    return [
        *rows,
        {"part": "four scales (--multiscale)", **_at_four_scales(start, work, ceiling["AP"]), "epoch": "best"},
    ]


def _at_four_scales(checkpoint: Path, work: Path, ceiling: float) -> dict:
    """The evaluation program as a user runs it; the ceiling stays that of one scale."""
    flags = f"--val_labels={work / 'labelled.json'}", f"--val_images_folder={overfit.COCO_MINI / 'train2017'}"
    done = module("eval", f"--data_path={overfit.COCO_MINI}", f"--checkpoint_path={checkpoint}", "--multiscale",
                  f"--base_height={BASE_HEIGHT}", f"--output_dir={work}", *flags)  # fmt: skip
    if done.returncode:
        raise UserError(done.stderr.strip() or done.stdout.strip())
    return overfit.curve(work / "eval_step1" / "metrics.jsonl", ceiling)[-1]


def _train(part: Part, epochs: int, start: Path, work: Path) -> None:
    drops = ",".join(str(round(share * epochs)) for share in part.lr_drops)
    overfit.train(
        TEST / "train_full_1p.sh", *FLAGS, *part.flags, f"--output_dir={work}", f"--experiment_name={part.name}",
        f"--checkpoint_path={start}", f"--val_labels={overfit.labelled_only(work)}",
        f"--val_images_folder={overfit.COCO_MINI / 'train2017'}", f"--epochs={epochs}", f"--lr_drops={drops}",
        f"--eval_freq={max(1, epochs // part.evaluations)}",
    )  # fmt: skip
