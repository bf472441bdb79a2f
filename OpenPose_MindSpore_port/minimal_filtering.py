# SPDX-License-Identifier: Apache-2.0
"""Convolutions of stride 1, and their gradients, with a tenth (7 x 7) or a quarter (3 x 3) of the multiplications.

Winograd's minimal filtering (Lavin and Gray 2016, arXiv:1509.09308) with other points. A map is cut into tiles of
m x m outputs, computed from n x n inputs, n = m + k - 1. Along each axis `y = A^T ((B d) * (G g))`: polynomials are
evaluated at n points, multiplied number by number, and interpolated. So per pair of points one matrix product does all
tiles and channels.

With real points alone float32 has no digits left for k = 7, n = 14. Points on the unit circle, those of an FFT (Mathieu
et al. 2014, arXiv:1312.5851), lose none, but a pair of conjugates is two values and costs three real products. A mix of
both leaves errors of some 1e-6 of the largest output, for 4.5 products an output instead of 49, and 2.25 instead of 9.
"""

import math
from functools import cache
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

Matrix = npt.NDArray[np.float64]


class Points(NamedTuple):
    """Where polynomials are evaluated: at infinity, real ones, and pairs exp(+-i angle)."""

    real: tuple[float, ...]
    angles: tuple[float, ...] = ()  # rad


POINTS = {  # of each kernel's side; of those tried they leave the smallest errors
    3: Points((0, 1, -1, 2, -1 / 2)),  # n = 6, tiles of 4 x 4 outputs, 36 products
    7: Points((0, 1, -1, 2, -2, 1 / 2, -1 / 2), (math.pi / 4, math.pi / 2, 3 * math.pi / 4)),  # n = 14, 8 x 8, 289
}
# Gauss: (a + bi)(c + di) from the products of a and c, b and d, a + b and c + d
FACTOR_OF_PAIR = (1, 0), (0, 1), (1, 1)
PRODUCT_OF_PAIR = (1, -1, 0), (-1, -1, 1)
# Measured. Narrower or smaller the direct way is as fast; matrices that go along an axis cost the square of its length.
FEWEST_CHANNELS, FEWEST_CELLS, LONGEST_SIDE = 128, 1024, 128


class FastConv2d(nn.Conv2d):
    """An nn.Conv2d of stride 1 that keeps the size, and takes the fast way where it pays: on a CPU, in float32.

    Everything else goes the direct way; so do exports.
    """

    def forward(self, images: Tensor) -> Tensor:
        """(B, in, h, w) -> (B, out, h, w)."""
        if self._pays(images):
            return Convolution.apply(images, self.weight, self.bias)
        return super().forward(images)

    def _pays(self, images: Tensor) -> bool:
        if images.device.type != "cpu" or torch.is_autocast_enabled("cpu") or torch.jit.is_tracing():
            return False
        batch, _, height, width = images.shape
        large = batch * height * width >= FEWEST_CELLS and max(height, width) <= LONGEST_SIDE
        wide = min(self.in_channels, self.out_channels) >= FEWEST_CHANNELS
        return large and wide and self.kernel_size[0] in POINTS and images.dtype == self.weight.dtype == torch.float32


class Convolution(torch.autograd.Function):
    """All three products are those of one bilinear algorithm, taken in turn from its inputs, outputs and taps.

    One column of points is worked on at a time: its numbers stay in the cache, and nothing transformed is ever held
    as a whole. For the gradients only the arguments are kept, as by nn.Conv2d.
    """

    @staticmethod
    def forward(ctx: Any, images: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        """(B, I, h, w), (O, I, k, k), (O,) -> (B, O, h, w), float32; a border of k // 2 zeros around the images."""
        ctx.save_for_backward(images, weight)
        inputs, outputs, taps = transforms(weight.shape[-1], *images.shape[2:])
        image_lines, tap_lines = inputs.split(_plane(images)), taps.split(_plane(weight))
        lines = outputs.empty(len(images) * len(weight))
        for point in range(taps.points):
            pixels = inputs.slab(image_lines, point, images.shape[1])
            filters = taps.slab(tap_lines, point, images.shape[1])
            outputs.put(torch.bmm(pixels, filters.transpose(1, 2)), lines, point)
        plane = outputs.join(lines).add_(bias.repeat(len(images)))
        return _maps(plane, len(weight)).data  # without the note that it is a view: a ReLU works in place on it

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, Tensor | None, Tensor]:
        """Gradients of images, weight and bias; None where nobody asks for that of images or weight."""
        (images, weight), (of_images, of_weight, _) = ctx.saved_tensors, ctx.needs_input_grad
        inputs, outputs, taps = transforms(weight.shape[-1], *images.shape[2:])
        gradient_lines = outputs.split(_plane(gradient))
        to_images = _ToImages(inputs, taps, images, weight) if of_images else None
        to_weight = _ToWeight(inputs, taps, images, weight) if of_weight else None
        for point in range(taps.points):
            slab = outputs.slab(gradient_lines, point, len(weight))
            for way in (to_images, to_weight):
                if way is not None:
                    way.take(slab, point)
        return to_images and to_images.result(), to_weight and to_weight.result(), gradient.sum((0, 2, 3))


class _ToImages:
    """The gradient of the images, from that of the outputs and the filters."""

    def __init__(self, inputs: "Transform", taps: "Transform", images: Tensor, weight: Tensor) -> None:
        self.inputs, self.taps, self.channels = inputs, taps, images.shape[1]
        self.tap_lines = taps.split(_plane(weight))
        self.lines = inputs.empty(len(images) * self.channels)

    def take(self, slab: Tensor, point: int) -> None:
        filters = self.taps.slab(self.tap_lines, point, self.channels)
        self.inputs.put(torch.bmm(slab, filters), self.lines, point)

    def result(self) -> Tensor:
        return _maps(self.inputs.join(self.lines), self.channels)


class _ToWeight:
    """The gradient of the weight, from that of the outputs and the images."""

    def __init__(self, inputs: "Transform", taps: "Transform", images: Tensor, weight: Tensor) -> None:
        self.inputs, self.taps, self.channels = inputs, taps, images.shape[1]
        self.image_lines = inputs.split(_plane(images))
        self.lines = taps.empty(len(weight) * self.channels)

    def take(self, slab: Tensor, point: int) -> None:
        pixels = self.inputs.slab(self.image_lines, point, self.channels)
        self.taps.put(torch.bmm(slab.transpose(1, 2), pixels), self.lines, point)

    def result(self) -> Tensor:
        return _maps(self.taps.join(self.lines), self.channels)


class Transform(NamedTuple):
    """What one of the three tensors goes through between its plane and the points: a matrix along each axis.

    Plane: (h, w, N), N numbers a cell. Lines: (h, points, tiles across * N), with the columns' matrix applied. Slab:
    (points, tiles * images, channels), what belongs to one of the columns' points, with both applied.
    """

    rows: Tensor  # (points * tiles down, h)
    columns: Tensor  # (points * tiles across, w)
    points: int

    def split(self, plane: Tensor) -> Tensor:
        """Plane -> lines."""
        return torch.matmul(self.columns, plane).view(len(plane), self.points, -1)

    def slab(self, lines: Tensor, point: int, channels: int) -> Tensor:
        """Lines -> the slab of one point."""
        return torch.mm(self.rows, lines[:, point]).view(self.points, -1, channels)

    def empty(self, numbers: int) -> Tensor:
        """Lines of `numbers` a cell, which `put` fills point by point."""
        tiles_across = len(self.columns) // self.points
        return torch.empty(self.rows.shape[1], self.points, tiles_across * numbers)

    def put(self, slab: Tensor, lines: Tensor, point: int) -> None:
        """The transpose of `slab`: writes what belongs to one point."""
        torch.mm(self.rows.t(), slab.view(len(self.rows), -1), out=lines[:, point])

    def join(self, lines: Tensor) -> Tensor:
        """The transpose of `split`: lines -> plane."""
        return torch.matmul(self.columns.t(), lines.view(len(lines), len(self.columns), -1))


def _plane(maps: Tensor) -> Tensor:
    """(B, C, h, w) -> (h, w, B * C); no copy where `_maps` made them."""
    return maps.permute(2, 3, 0, 1).flatten(2)


def _maps(plane: Tensor, channels: int) -> Tensor:
    """(h, w, B * C) -> a view (B, C, h, w)."""
    return plane.unflatten(2, (-1, channels)).permute(2, 3, 0, 1)


@cache
def transforms(kernel: int, height: int, width: int) -> tuple[Transform, Transform, Transform]:
    """Those of inputs, outputs and taps, for maps of height x width."""
    down, across = _bands(kernel, height), _bands(kernel, width)
    points = len(filtering(kernel)[0])
    inputs, outputs, taps = (Transform(*both, points) for both in zip(down, across, strict=True))
    return inputs, outputs, taps


def _bands(kernel: int, length: int) -> list[Tensor]:
    """B and A for all tiles of an axis at once, (points * tiles, length) each, and G, (points, kernel).

    What the tiles reach beyond the axis is cut off: neither zeros around a map nor a whole number of tiles is needed.
    """
    outputs, inputs, taps = filtering(kernel)
    step, border = outputs.shape[1], kernel // 2
    tiles = -(-length // step)
    every, shift = range(tiles), np.eye(tiles * step + kernel - 1)
    wide_inputs = np.stack([inputs @ shift[i * step : i * step + inputs.shape[1]] for i in every], axis=1)
    wide_outputs = np.stack([outputs @ shift[i * step : (i + 1) * step] for i in every], axis=1)
    bands = wide_inputs[..., border : border + length], wide_outputs[..., :length], taps[:, None]
    return [torch.tensor(band.reshape(-1, band.shape[-1]), dtype=torch.float32) for band in bands]


@cache
def filtering(kernel: int) -> tuple[Matrix, Matrix, Matrix]:
    """A (p, m), B (p, n), G (p, k): `A^T ((B d) * (G g))` are the m inner products of taps g (k,) along d (n,).

    A and G evaluate polynomials, B is the transpose of the interpolation (Lavin and Gray 2016, section 5.1). What the
    three have at a point is scaled to one length: the least rounding error.
    """
    points = POINTS[kernel]
    reach = len(points.real) + 1 + 2 * len(points.angles)
    summed, product = _of_pairs(points, FACTOR_OF_PAIR), _of_pairs(points, PRODUCT_OF_PAIR)
    outputs, taps = (summed @ _evaluation(points, count) for count in (reach - kernel + 1, kernel))
    inputs = (np.linalg.inv(_evaluation(points, reach)) @ product).T
    lengths = [np.linalg.norm(matrix, axis=1, keepdims=True) for matrix in (outputs, inputs, taps)]
    common = np.cbrt(math.prod(lengths))
    outputs, inputs, taps = (m / own * common for m, own in zip((outputs, inputs, taps), lengths, strict=True))
    return outputs, inputs, taps


def _evaluation(points: Points, count: int) -> Matrix:
    """(n, count): a polynomial's coefficients to its values: at real points, at infinity, real and imaginary parts."""
    powers = np.arange(count)
    of_pairs = [part for angle in points.angles for part in (np.cos(angle * powers), np.sin(angle * powers))]
    return np.array([*(real**powers for real in map(float, points.real)), powers == count - 1, *of_pairs])


def _of_pairs(points: Points, of_pair: tuple[tuple[int, ...], ...]) -> Matrix:
    """What is done to the values: nothing where they are real, `of_pair` to each real and imaginary part."""
    plain, pairs = np.eye(len(points.real) + 1), np.kron(np.eye(len(points.angles)), of_pair)
    above, below = np.zeros((len(plain), pairs.shape[1])), np.zeros((len(pairs), len(plain)))
    return np.block([[plain, above], [below, pairs]])
