# SPDX-License-Identifier: Apache-2.0
"""Two processes joined by gloo train a network with lambda: one model, and the one that a single process trains."""

import json
from pathlib import Path

from common.test.programs import launched, weights
from MIPNet.test.programs import RUN, SMALL

import numpy as np
import pytest
import torch

RANKS, STEPS = 2, 3
LARGEST_DIFFERENCE = 0.02  # of how far weights moved: batches of two are sensitive to rounding
# SGD: the first steps of Adam are signs of gradients, however small
FLAGS = (*SMALL, "--num_workers=0", "--lr=0.1", "--epochs=1", f"--max_steps={STEPS}", "TRAIN.OPTIMIZER", "sgd")
PROGRAM = """
import sys
from common import distributed
from common.cli import run
from MIPNet import train
import torch

finish_epoch = train.finish_epoch
begun = {}

def finish_and_compare(state, *others):
    finish_epoch(state, *others)
    if not state.epoch:
        begun.update((name, value.clone()) for name, value in state.model.state_dict().items())
        if distributed.is_main():
            torch.save(begun, "begun.pth")
        return
    states = distributed.gather_objects(state.model.state_dict())
    equal = all(torch.equal(state[name], states[0][name]) for state in states for name in begun)
    moved = sum(not torch.equal(states[0][name], begun[name]) for name in begun)
    sys.stdout.write(f"{len(states)} ranks, equal: {equal}, moved: {moved} of {len(begun)}\\n")

train.finish_epoch = finish_and_compare
run(train.main)
"""


def trained(folder: Path, data_path: Path, ranks: int, *flags: str) -> tuple[str, list[dict[str, float]]]:
    """What a run says, and the losses of its steps."""
    (folder / "program.py").write_text(PROGRAM)
    out = folder / str(ranks)
    words = [f"--data_path={data_path}", f"--output_dir={out}", f"--log_dir={out / 'log'}", *FLAGS, *flags]
    done = launched("program", out / "log", *words, ranks=ranks, cwd=folder)
    assert done.returncode == 0, done.stderr
    lines = [json.loads(line) for line in (out / RUN / "metrics.jsonl").read_text().splitlines()]
    return done.stdout, [line["losses"] for line in lines if line["event"] == "step"]


@pytest.fixture(scope="module")
def both(tiny_coco: Path, tmp_path_factory: pytest.TempPathFactory):
    """The folder, and words and losses of one rank that takes two parts, and of two ranks with a part each."""
    folder = tmp_path_factory.mktemp("ranks")
    alone = trained(folder, tiny_coco, 1, "--batch_size=4", "--part_size=2")
    return folder, alone, trained(folder, tiny_coco, RANKS, "--batch_size=2", "--part_size=2")


def test_every_rank_ends_with_the_same_weights(both) -> None:
    _, (alone, _), (joined, _) = both
    words = [line for line in joined.splitlines() if line.startswith(f"{RANKS} ranks")]
    assert len(words) == 1 and "equal: True" in words[0], joined
    assert words[0].split("moved: ")[1] == alone.split("moved: ")[1].splitlines()[0]
    assert f"4 images a step ({RANKS} ranks x 1 parts x 2)" in joined


def test_two_ranks_train_what_one_process_trains(both) -> None:
    """The same images with both lambdas, in another order: losses and weights but for rounding.

    Running means are of rank 0's images alone, and are not compared.
    """
    folder, (_, alone), (_, joined) = both
    assert len(alone) == len(joined) == STEPS
    np.testing.assert_allclose([step["loss"] for step in alone], [step["loss"] for step in joined], rtol=1e-4)
    begun = torch.load(folder / "begun.pth", weights_only=True)
    one, other = (weights(folder / str(ranks) / RUN) for ranks in (1, RANKS))
    names = [name for name in one if not name.rsplit(".")[-1].startswith(("running", "num_batches"))]
    assert any("fc_lambda" in name for name in names)
    moved, apart = (torch.cat([(one[name] - that[name]).flatten() for name in names]).norm() for that in (begun, other))
    assert apart < LARGEST_DIFFERENCE * moved
