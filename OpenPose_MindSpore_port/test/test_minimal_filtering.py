# SPDX-License-Identifier: Apache-2.0
"""The fast convolution is the direct one, forward and backward, and stands aside where it does not serve."""

from pathlib import Path

from OpenPose_MindSpore_port import minimal_filtering
from OpenPose_MindSpore_port.minimal_filtering import POINTS, Convolution, FastConv2d, filtering
from OpenPose_MindSpore_port.test import golden

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional

LARGEST_ERROR = 1e-5  # part of the largest value
SHAPES = [(1, 2, 3, 46, 46), (2, 5, 3, 9, 20), (1, 3, 4, 8, 8), (3, 1, 2, 1, 5), (1, 2, 2, 3, 2)]  # B, I, O, h, w
TARGETS = ("outputs", "images", "weight", "bias")


def arguments(shape: tuple[int, ...], kernel: int) -> tuple[Tensor, Tensor, Tensor]:
    batch, inputs, outputs, height, width = shape
    random = torch.Generator().manual_seed(sum(shape) + kernel)
    sizes = (batch, inputs, height, width), (outputs, inputs, kernel, kernel), (outputs,)
    images, weight, bias = (torch.randn(size, generator=random).requires_grad_() for size in sizes)
    return images, weight, bias


def error(found: Tensor, wanted: Tensor) -> float:
    return float((found - wanted).detach().abs().max() / wanted.detach().abs().max())


@pytest.mark.parametrize("kernel", POINTS)
def test_the_three_matrices_filter(kernel: int) -> None:
    outputs, inputs, taps = filtering(kernel)
    random = np.random.default_rng(0)
    line, weights = random.standard_normal(inputs.shape[1]), random.standard_normal(kernel)
    found = outputs.T @ ((inputs @ line) * (taps @ weights))
    assert np.allclose(found, np.correlate(line, weights), rtol=0, atol=1e-12)


@pytest.mark.parametrize("kernel", POINTS)
@pytest.mark.parametrize("shape", SHAPES)
def test_outputs_and_gradients_are_those_of_the_direct_way(shape: tuple[int, ...], kernel: int) -> None:
    given = arguments(shape, kernel)
    doubles = [value.detach().double().requires_grad_() for value in given]
    wanted = functional.conv2d(*doubles, padding=kernel // 2)
    found = Convolution.apply(*given)
    gradient = torch.randn(found.shape, generator=torch.Generator().manual_seed(0))
    found_all = (found, *torch.autograd.grad(found, given, gradient))
    wanted_all = (wanted, *torch.autograd.grad(wanted, doubles, gradient.double()))
    errors = dict(zip(TARGETS, map(error, found_all, wanted_all), strict=True))
    assert max(errors.values()) < LARGEST_ERROR, errors


def test_any_layout_in_memory_gives_the_same() -> None:
    images, weight, bias = arguments(SHAPES[1], 7)
    last = torch.channels_last
    found = Convolution.apply(images.contiguous(memory_format=last), weight.contiguous(memory_format=last), bias)
    assert torch.equal(found, Convolution.apply(images, weight, bias))


def test_a_gradient_that_nobody_asks_for_is_not_computed() -> None:
    images, weight, bias = arguments(SHAPES[0], 7)
    Convolution.apply(images, weight.detach(), bias).sum().backward()
    assert weight.grad is None and images.grad is not None
    Convolution.apply(images.detach(), weight, bias).sum().backward()
    assert weight.grad is not None


def layer(kernel: int = 7, channels: int = minimal_filtering.FEWEST_CHANNELS) -> FastConv2d:
    torch.manual_seed(0)
    return FastConv2d(channels, channels, kernel, padding=kernel // 2)


def takes_the_fast_way(convolution: FastConv2d, images: Tensor) -> bool:
    return convolution(images).grad_fn.name() == "ConvolutionBackward"  # torch's own have a number behind it


@pytest.mark.parametrize("kernel", POINTS)
def test_a_layer_is_nn_conv2d_with_another_way(kernel: int) -> None:
    """Its outputs may be worked on in place, as a ReLU does; evaluation before training spoils nothing."""
    convolution = layer(kernel)
    images = torch.randn(1, convolution.in_channels, 32, 33, generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        evaluated = convolution(images).relu_()
    trained = convolution(images).relu_()
    wanted = functional.conv2d(images, convolution.weight, convolution.bias, padding=kernel // 2).relu()
    assert takes_the_fast_way(convolution, images) and torch.equal(evaluated, trained)
    assert error(trained, wanted) < LARGEST_ERROR
    trained.sum().backward()
    assert convolution.weight.grad.stride() == convolution.weight.stride()


def test_everything_else_goes_the_direct_way() -> None:
    images = torch.randn(1, minimal_filtering.FEWEST_CHANNELS, 32, 33)
    assert not takes_the_fast_way(layer(kernel=1), images)
    assert not takes_the_fast_way(layer(), images[..., :9])
    assert not takes_the_fast_way(layer(), images[..., :1, :].repeat(1, 1, 1, 40))
    assert not takes_the_fast_way(layer(channels=8), images[:, :8])
    assert not takes_the_fast_way(layer().double(), images.double())
    with torch.autocast("cpu", torch.bfloat16):
        assert layer()(images).dtype == torch.bfloat16


def test_exports_see_an_ordinary_convolution() -> None:
    images = torch.randn(1, minimal_filtering.FEWEST_CHANNELS, 32, 33)
    with pytest.warns(DeprecationWarning, match="torch.jit.trace"):  # the exporter to ONNX still works by it
        traced = torch.jit.trace(layer().eval(), images, check_trace=False)
    assert "aten::_convolution" in str(traced.graph) and "PythonOp" not in str(traced.graph)


def test_the_network_gives_the_originals_outputs(shared: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every layer that can goes the fast way, on the smaller maps of the golden case, too."""
    monkeypatch.setattr(minimal_filtering, "FEWEST_CELLS", 0)
    wanted = np.load(golden.folder(shared) / "net_outputs.npz")
    noise = np.random.default_rng(0).standard_normal((1, 3, 184, 184)).astype(np.float32)
    with torch.inference_mode():
        fields, heatmaps = golden.network().eval()(torch.from_numpy(noise * np.float32(0.3)))
    for name, maps in (("paf", fields), ("heatmap", heatmaps)):
        for stage, found in enumerate(maps, start=1):
            assert error(found, torch.from_numpy(wanted[f"{name}{stage}"])) < 5e-5
