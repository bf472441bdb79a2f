# SPDX-License-Identifier: Apache-2.0
import multiprocessing

from common.cli import ImageError, UserError
from common.train.loader import Plan, divide, positions, stream

import numpy as np
import pytest
import torch

CPU = torch.device("cpu")


class Numbers:
    """Samples that are what the position and its randomness make them."""

    def __init__(self, count: int, bad: int = -1) -> None:
        self.count, self.bad = count, bad

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, position: tuple[int, int]) -> float:
        epoch, index = position
        if index == self.bad:
            raise UserError(f"image {index}: cut short")
        return index + float(np.random.default_rng((epoch, index)).random())


def order(samples: int = 23, batch: int = 4, epoch: int = 0, step: int = 0, **plan: int) -> list:
    return list(positions(Plan(3, samples, batch, **plan), 5, epoch, step))


def test_an_epoch_takes_each_sample_at_most_once_and_orders_differ() -> None:
    batches = order()
    assert len(batches) == 3 * (23 // 4)
    epochs = [[index for batch in batches for at, index in batch if at == epoch] for epoch in range(3)]
    assert all(len(set(epoch)) == len(epoch) == 20 for epoch in epochs)
    assert epochs[0] != epochs[1] != epochs[2]


def test_from_any_step_on_it_is_the_rest() -> None:
    for plan, steps in (({"accumulation_steps": 2}, 2), ({"max_steps": 4}, 4), ({"max_steps": 100}, 5)):
        whole, a_step = order(**plan), plan.get("accumulation_steps", 1)
        assert [batch[0][0] for batch in whole] == [epoch for epoch in range(3) for _ in range(steps * a_step)]
        for done in range(3 * steps):
            assert order(epoch=done // steps, step=done % steps, **plan) == whole[done * a_step :]


def test_ranks_take_what_one_rank_takes_in_micro_batches(monkeypatch) -> None:
    alone = order(accumulation_steps=2)
    ranks = []
    for rank in "01":
        monkeypatch.setenv("WORLD_SIZE", "2")
        monkeypatch.setenv("RANK", rank)
        ranks.append(order())
    assert [batch for pair in zip(*ranks, strict=True) for batch in pair] == alone


def test_fewer_ranks_share_the_micro_batches_of_all(monkeypatch) -> None:
    """Four servers were planned, of which three are there: one rank takes two micro-batches of each step."""
    alone = order(batch=2, accumulation_steps=4)
    monkeypatch.setenv("POSE_ZOO_RANKS", "4")
    monkeypatch.setenv("WORLD_SIZE", "3")
    plan, ranks = Plan(3, 23, 2), list[list]()
    for rank in "012":
        monkeypatch.setenv("RANK", rank)
        ranks.append(order(batch=2))
    assert (plan.images_per_step, plan.micro_batches, [len(own) for own in ranks]) == (8, 4, [6, 6, 12])
    steps = [[ranks[0][n], ranks[1][n], *ranks[2][2 * n : 2 * n + 2]] for n in range(6)]
    assert [batch for step in steps for batch in step] == alone


def test_batches_do_not_depend_on_workers_and_leave_the_global_random_state_alone() -> None:
    torch.manual_seed(1)
    state = torch.get_rng_state()
    alone, one, two = (list(stream(Numbers(23), order(), list, workers, CPU)) for workers in (0, 1, 2))
    assert alone == one == two
    assert torch.equal(state, torch.get_rng_state())


@pytest.mark.parametrize("workers", [0, 1])
def test_an_error_of_a_sample_arrives_in_one_line(workers: int) -> None:
    with pytest.raises(UserError) as caught:
        list(stream(Numbers(23, bad=7), order(), list, workers, CPU))
    assert str(caught.value) == "image 7: cut short"


class Pictures(list):
    """True for a sample whose image can be read."""

    def __getitem__(self, position: tuple[int, int]) -> int:
        if not super().__getitem__(position[1]):
            raise ImageError(f"image {position[1]}: cut short")
        return position[1]


@pytest.mark.parametrize("workers", [0, 1])
def test_a_bad_image_is_skipped_where_it_may_be(workers: int, capfd) -> None:
    """The last of four, then all."""
    order = [[(0, 3)], [(0, 1)]]
    found = list(stream(Pictures([True] * 3 + [False]), iter(order), list, workers, CPU, skip_bad=True))
    assert found == [[0], [1]] and capfd.readouterr().err == "skipped: image 3: cut short\n"
    for samples, skip in ((Pictures([True] * 3 + [False]), False), (Pictures([False] * 4), True)):
        with pytest.raises(ImageError, match=r"^image \d: cut short$"):
            list(stream(samples, iter(order), list, workers, CPU, skip))


class Announced(Numbers):
    """Sets `second_epoch` when a sample of that is read."""

    second_epoch = multiprocessing.get_context("fork").Event()

    def __getitem__(self, position: tuple[int, int]) -> float:
        if position[0] == 1:
            self.second_epoch.set()
        return super().__getitem__(position)


def test_the_next_epoch_is_read_while_this_one_still_runs() -> None:
    batches = stream(Announced(8), iter(order(samples=8)), list, 1, CPU)
    assert len([next(batches), next(batches)]) == 2  # all of the first epoch
    assert Announced.second_epoch.wait(30)


def test_micro_batches_leave_nothing_out_where_they_can() -> None:
    """Asked: images a step, samples, ranks, the most that a rank takes at once."""
    for asked, size_and_number in (
        ((80, 1000, 1, 0), (80, 1)),
        ((80, 1000, 1, 8), (8, 10)),
        ((7, 1000, 1, 2), (1, 7)),
        ((80, 68, 1, 8), (4, 17)),
        ((79, 1000, 1, 8), (7, 10)),
        ((9, 1000, 2, 0), (4, 1)),
    ):
        found = divide(*asked)
        assert (found["micro_batch_size"], found["accumulation_steps"]) == size_and_number
