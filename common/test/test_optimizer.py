# SPDX-License-Identifier: Apache-2.0
"""Fast kernels, and states that go on under those of another device."""

import copy
from functools import partial

import common.device
from common.train.state import restore_optimizer, use_fast_kernels

import pytest
import torch
from torch import Tensor, nn

ADAM, MOMENTUM = torch.optim.Adam, partial(torch.optim.SGD, momentum=0.9)


def parameter(layout: torch.memory_format = torch.contiguous_format) -> nn.Parameter:
    weights = torch.rand(3, 4, 3, 3, generator=torch.Generator().manual_seed(0))
    return nn.Parameter(weights.contiguous(memory_format=layout))


def take_steps(optimizer: torch.optim.Optimizer, of: nn.Parameter, gradients: list[Tensor]) -> None:
    for gradient in gradients:
        of.grad = torch.empty_like(of).copy_(gradient)
        optimizer.step()


def gradients(count: int) -> list[Tensor]:
    random = torch.Generator().manual_seed(1)
    return [torch.rand(3, 4, 3, 3, generator=random) - 0.5 for _ in range(count)]


@pytest.mark.parametrize("rule", [ADAM, MOMENTUM])
def test_fast_kernels_give_the_same_weights(rule) -> None:
    plain, fast = parameter(), parameter()
    slow, quick = rule([plain], lr=0.1), rule([fast], lr=0.1)
    use_fast_kernels(quick)
    assert quick.param_groups[0]["fused"] and not slow.param_groups[0]["fused"]
    for optimizer, of in ((slow, plain), (quick, fast)):
        take_steps(optimizer, of, gradients(5))
    assert torch.allclose(plain, fast, atol=1e-6)


def test_a_rule_without_such_kernels_stays_as_it_is() -> None:
    optimizer = torch.optim.RMSprop([parameter()], lr=0.1)
    before = copy.deepcopy(optimizer.state_dict())
    use_fast_kernels(optimizer)
    assert optimizer.state_dict() == before


@pytest.mark.parametrize("rule", [ADAM, MOMENTUM])
def test_a_state_of_another_kind_of_device_keeps_our_kernels(rule) -> None:
    weights = parameter()
    theirs, ours = rule([weights], lr=0.1), rule([weights], lr=0.1)
    take_steps(theirs, weights, gradients(1))
    theirs.param_groups[0].update(fused=False, foreach=True, lr=0.05)
    use_fast_kernels(ours)
    restore_optimizer(ours, theirs.state_dict())
    group = ours.param_groups[0]
    assert (group["fused"], group["foreach"], group["lr"]) == (True, False, 0.05)
    take_steps(ours, weights, gradients(1))


@pytest.mark.parametrize("rule", [ADAM, MOMENTUM])
def test_a_state_of_another_memory_layout_goes_on(rule) -> None:
    """Saved on an NPU, resumed on a CPU, where convolutions are channels_last: torch's kernels would mix up values."""
    ours, all_of_them = parameter(), gradients(3)
    optimizer = rule([ours], lr=0.1)
    take_steps(optimizer, ours, all_of_them[:2])
    theirs = nn.Parameter(ours.detach().clone(memory_format=torch.channels_last))
    resumed = rule([theirs], lr=0.1)
    use_fast_kernels(resumed)
    restore_optimizer(resumed, copy.deepcopy(optimizer.state_dict()))
    take_steps(optimizer, ours, all_of_them[2:])
    take_steps(resumed, theirs, all_of_them[2:])
    assert torch.allclose(ours, theirs, atol=1e-6)


def test_another_number_of_groups_is_refused() -> None:
    one, two = torch.optim.Adam([parameter()]), torch.optim.Adam([{"params": [parameter()]}, {"params": [parameter()]}])
    with pytest.raises(ValueError, match="groups"):
        restore_optimizer(two, one.state_dict())


def test_a_step_with_infinite_gradients_is_left_out() -> None:
    """Also where the fused kernels could do it themselves: weights and the count of steps stay."""
    weights = parameter()
    before, optimizer = weights.detach().clone(), torch.optim.Adam([weights], lr=0.1)
    use_fast_kernels(optimizer)
    scaler = common.device.scaler(torch.device("cpu"), torch.float16, "16384")
    scaler.scale((weights * 3e38).sum()).backward()
    scaler.step(optimizer)
    assert torch.equal(weights, before) and not optimizer.state
