# SPDX-License-Identifier: Apache-2.0
"""Training on real images works: a small network learns the labelled people of coco-mini by heart, boxes given.

An hour on two cores; a run that was stopped goes on where it was. Needs ../shared/data/coco-mini.
"""

from pathlib import Path

from AlphaPose.config import DEFAULT_CFG
from common.test import overfit

TITLE = "Overfitting the labelled coco-mini training people, from a random start, boxes given"
SLOW = True
EPOCHS_A_RUN = 100  # --runs=3 trains for 300 epochs
EVALUATIONS = 10
CEILING = 1.0
LAUNCHER = Path(__file__).parent / "train_full_1p.sh"
# A small network and crops that never change: what is tested is that training learns what it is shown.
FLAGS = (
    "--exp_id=overfit", "--amp=O0", "--backbone=none", "--model=SimplePose", "--num_layers=18",
    "--batch_size=8", "--dpg=false", "--flip=false", "--rotation=0",
    "--scale=0", "--val_labels=annotations/person_keypoints_train2017.json", "--val_images_folder=train2017",
    "--kept_images=100",
)  # fmt: skip


def measure(runs: int) -> list[dict]:
    """Trains for `runs` hundred epochs; the AP at each evaluation."""
    work = overfit.work_folder("alphapose")
    epochs = EPOCHS_A_RUN * runs
    overfit.train(
        LAUNCHER, *FLAGS, f"--output_dir={work}", f"--epochs={epochs}",
        f"--lr_steps={int(0.7 * epochs)},{int(0.9 * epochs)}", f"--snapshot={epochs // EVALUATIONS}",
    )  # fmt: skip
    return overfit.curve(work / "exp" / f"overfit-{Path(DEFAULT_CFG).name}" / "metrics.jsonl", CEILING)
