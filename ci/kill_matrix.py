# SPDX-License-Identifier: Apache-2.0
"""Exceptions and kills in every process of a training, times readers, times ranks: does all of it end, and how soon?

    python ci/kill_matrix.py [--times 10] [--limit 10]

prints a row for each case: how many runs ended with an exit code other than 0, with no process left, within the limit
of seconds after the fault; and the slowest. Ends with 1 where one did not.
"""

import argparse
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
import common.coco.mini.dataset
from common.test import fault

FLAGS = (
    "--device=cpu",
    "--net_input_size=64",
    "--batch_size=4",
    "--amp=O0",
    "--checkpoint_path=none",
    "--recipe=full",
    "--step=1",
    "--epochs=1",
    "--base_height=64",
    "--val_images=2",
)
CASES = [  # name, fault, numbers of readers, numbers of ranks
    ("exception in a step", "raise step 0", (0, 1, 2), (1, 2)),
    ("exception in a reader", "raise reader 0", (0, 1, 2), (1, 2)),
    ("exception in a rank", "raise step 1", (0, 1, 2), (2,)),
    ("reader killed", "kill reader 0", (1, 2), (1, 2)),
    ("rank killed", "kill step 0", (0, 1, 2), (1, 2)),
    ("other rank killed", "kill step 1", (0, 1, 2), (2,)),
    ("exception in an evaluation", "raise evaluation 0", (1,), (1, 2)),
    ("the same in the other rank", "raise evaluation 1", (1,), (2,)),
    ("other rank killed in an evaluation", "kill evaluation 1", (1,), (2,)),
    ("launcher killed", "kill_launcher step 0", (0, 1, 2), (2,)),
]


def run_case(what: str, readers: int, ranks: int, data: Path) -> fault.Outcome:
    """One training of Lightweight OpenPose that the fault happens to."""
    with tempfile.TemporaryDirectory() as folder:
        place = (
            f"--data_path={data}",
            f"--output_dir={folder}",
            f"--log_dir={folder}/logs",
            f"--num_workers={readers}",
        )
        return fault.run(what, Path(folder), "Lightweight_OpenPose.train", *FLAGS, *place, ranks=ranks)


def main() -> int:
    """Runs every case `times` times; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--times", type=int, default=10, help="runs of each case [%(default)s]")
    parser.add_argument("--limit", type=float, default=10.0, help="seconds from the fault to the end [%(default)s]")
    flags = parser.parse_args()
    print("| what | ranks | readers a rank | as it should | slowest, s |\n|---|---|---|---|---|")
    failed = 0
    with tempfile.TemporaryDirectory() as folder:
        data = common.coco.mini.dataset.write(folder, num_train=12, num_val=6)
        for name, what, all_readers, all_ranks in CASES:
            for ranks, readers in [(ranks, readers) for ranks in all_ranks for readers in all_readers]:
                ends = [run_case(what, readers, ranks, data) for _ in range(flags.times)]
                good = sum(end.code != 0 and not end.left and 0 <= end.seconds <= flags.limit for end in ends)
                slowest = max(end.seconds for end in ends)
                print(f"| {name} | {ranks} | {readers} | {good} of {flags.times} | {slowest:.1f} |", flush=True)
                failed += flags.times - good
    return int(failed > 0)


if __name__ == "__main__":
    sys.exit(main())
