# SPDX-License-Identifier: Apache-2.0
"""Training on real images works: a network that sees a few labelled images again and again finds the people in them.

The AP on these images is set against the decoder's ceiling there: that of their ideal maps. It begins with the network
that `bash ci/quickstart.sh` leaves, which has seen drawn people only. An hour or two on two cores; a run that was
stopped goes on where it was. Needs ../shared/data/coco-mini.
"""

from common.cli import UserError
from common.skeleton import OPENPOSE
from common.test import overfit
from Lightweight_OpenPose.decode import DecodeRules
from Lightweight_OpenPose.test import ideal_maps
from Lightweight_OpenPose.test.programs import ROOT, TEST

TITLE = "Overfitting the labelled coco-mini training images, from the quickstart's network of drawn people"
SLOW = True
EPOCHS_A_RUN = 100  # --runs=6 trains for 600 epochs
EVALUATIONS = 12
BASE_HEIGHT = 368
DRAWN = ROOT / "quickstart" / "step_one_checkpoints" / "model_best.pth"
# Small crops and batches: many steps in little time; sizes of people as they are met at the evaluation's height.
FLAGS = (
    "--step=1", "--experiment_name=overfit", "--amp=O0", "--num_refinement_stages=0", "--net_input_size=192",
    "--person_height=0.8", "--scale_min=0.25", "--scale_max=1.25", "--rotation=0", "--flip=0", "--batch_size=4",
    "--base_lr=7e-4", "--lr_drop_factor=0.3", "--weight_decay=0", "--val_images=0", "--print_freq=16",
    f"--base_height={BASE_HEIGHT}",
)  # fmt: skip


def measure(runs: int) -> list[dict]:
    """Trains for `runs` hundred epochs; the AP at each evaluation."""
    if not DRAWN.is_file():
        raise UserError(f"{DRAWN} is not there: run `bash ci/quickstart.sh` first")
    work = overfit.work_folder("lightweight_openpose")
    epochs = EPOCHS_A_RUN * runs
    overfit.train(
        TEST / "train_full_1p.sh", *FLAGS, f"--output_dir={work}", f"--checkpoint_path={DRAWN}", "--weights_only",
        f"--val_labels={overfit.labelled_only(work)}", f"--val_images_folder={overfit.COCO_MINI / 'train2017'}",
        f"--epochs={epochs}", f"--lr_drops={int(0.7 * epochs)},{int(0.9 * epochs)}",
        f"--eval_freq={max(1, epochs // EVALUATIONS)}",
    )  # fmt: skip
    ceiling = ideal_maps.average_precision_of_ideal_maps(
        overfit.COCO_MINI, "train", OPENPOSE, DecodeRules(), BASE_HEIGHT
    )
    return overfit.curve(work / "overfit_checkpoints" / "metrics.jsonl", ceiling["AP"])
