# SPDX-License-Identifier: Apache-2.0
"""Batch normalisation folded into the layer before it, for inference."""

import copy
from typing import Any

import torch
from torch import Tensor, nn

PAIRS: dict[type[nn.Module], type[nn.Module]] = {
    nn.Conv2d: nn.BatchNorm2d,
    nn.ConvTranspose2d: nn.BatchNorm2d,
    nn.Linear: nn.BatchNorm1d,
}


def fuse_batch_norm(model: nn.Module, *example: Tensor) -> nn.Module:
    """A copy in evaluation mode whose convolutions do the work of the batch normalisation behind them.

    Which belong together is seen, not guessed from names: `example` runs through the copy once, and a normalisation
    is folded where its input is, unchanged, what a convolution (or linear layer) returned, both used once. Layers
    that the example does not reach stay as they are. `example`: the inputs of `model`, as small as it takes.
    Same outputs to 1e-5 relative. Raises RuntimeError where the outputs for `example` differ: a network that uses a
    convolution's output a second time beside its normalisation.
    """
    fused = copy.deepcopy(model).eval()
    recorder = _Recorder(fused)
    with torch.no_grad():
        before = fused(*example)
        recorder.remove()
        parents = {child: (parent, name) for parent in fused.modules() for name, child in parent.named_children()}
        for layer, normalisation in recorder.pairs():
            _put(parents[layer], _fold(layer, normalisation))
            _put(parents[normalisation], nn.Identity())
        _check_same(before, fused(*example))
    return fused


class _Recorder:
    """Notes which normalisation was given what a layer returned, and how often each was called."""

    def __init__(self, model: nn.Module) -> None:
        self.returned: list[tuple[nn.Module, Tensor, int]] = []  # layer, its output (kept alive), its version
        self.given: list[tuple[nn.Module, Tensor, int]] = []
        kinds, normalisations = tuple(PAIRS), tuple(set(PAIRS.values()))
        self.handles = [m.register_forward_hook(self._after) for m in model.modules() if type(m) in kinds]
        self.handles += [
            m.register_forward_pre_hook(self._before) for m in model.modules() if type(m) in normalisations
        ]

    def _after(self, layer: nn.Module, inputs: Any, output: Tensor) -> None:
        self.returned.append((layer, output, output._version))

    def _before(self, normalisation: nn.Module, inputs: Any) -> None:
        self.given.append((normalisation, inputs[0], inputs[0]._version))

    def remove(self) -> None:
        for handle in self.handles:
            handle.remove()

    def pairs(self) -> list[tuple[nn.Module, nn.Module]]:
        """(layer, normalisation) that follow one another directly, each called once."""
        calls = [module for module, _, _ in (*self.returned, *self.given)]
        source = {id(output): (layer, version) for layer, output, version in self.returned}
        found = []
        for normalisation, features, version in self.given:
            layer, written = source.get(id(features), (None, None))
            once = calls.count(normalisation) == 1 == calls.count(layer) if layer is not None else False
            if layer is not None and once and written == version and PAIRS[type(layer)] is type(normalisation):
                found.append((layer, normalisation))
        return found


def _fold(layer: nn.Module, normalisation: nn.Module) -> nn.Module:
    if isinstance(layer, nn.Linear) and isinstance(normalisation, nn.BatchNorm1d):
        return torch.nn.utils.fuse_linear_bn_eval(layer, normalisation)
    transposed = isinstance(layer, nn.ConvTranspose2d)
    return torch.nn.utils.fuse_conv_bn_eval(layer, normalisation, transpose=transposed)  # type: ignore[type-var,arg-type]


def _put(place: tuple[nn.Module, str], module: nn.Module) -> None:
    parent, name = place
    setattr(parent, name, module)


def _check_same(before: Any, after: Any) -> None:
    """Raises RuntimeError where folding changed what the network returns."""
    pairs = zip(before, after, strict=True) if isinstance(before, (list, tuple)) else [(before, after)]
    for wanted, found in pairs:
        if (wanted - found).abs().max() > 1e-3 * wanted.abs().max():
            raise RuntimeError("batch normalisation cannot be folded: the outputs differ; use the network as it is")
