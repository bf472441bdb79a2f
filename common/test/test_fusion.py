# SPDX-License-Identifier: Apache-2.0
from common.runtime.fusion import fuse_batch_norm
from common.topdown.resnet import BasicBlock, deconvolutions, residual_layer

import pytest
import torch
from torch import Tensor, nn


def trained(model: nn.Module) -> nn.Module:
    """Statistics and weights that are not 0 and 1, so that folding has something to do."""
    torch.manual_seed(0)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
            nn.init.uniform_(module.weight, 0.5, 2)
            nn.init.normal_(module.bias)
            nn.init.normal_(module.running_mean)
            nn.init.uniform_(module.running_var, 0.5, 2)
    return model


def normalisations(model: nn.Module) -> int:
    return sum(isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d) for module in model.modules())


@pytest.mark.parametrize(
    ("model", "shape"),
    [
        (residual_layer(BasicBlock, 4, 8, 2, stride=2), (2, 4, 8, 8)),
        (deconvolutions(4, (6, 5), (4, 3)), (2, 4, 8, 8)),
        (nn.Sequential(nn.Linear(4, 6), nn.BatchNorm1d(6)), (3, 4)),
        (nn.Sequential(nn.Conv2d(4, 6, 3, groups=2), nn.BatchNorm2d(6)), (2, 4, 8, 8)),
    ],
)
def test_outputs_stay_and_the_model_too(model: nn.Module, shape: tuple[int, ...]) -> None:
    model, inputs = trained(model).train(), torch.randn(shape)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    fused = fuse_batch_norm(model, inputs)
    assert normalisations(fused) == 0 and not fused.training
    assert model.training and all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
    with torch.no_grad():
        torch.testing.assert_close(fused(inputs), model.eval()(inputs), rtol=1e-5, atol=1e-5)


class Unusual(nn.Module):
    """Attributes whose names suggest pairs that are none."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(4, 4, 1), nn.BatchNorm2d(4)
        self.relu = nn.ReLU(inplace=True)


class Preactivated(Unusual):
    def forward(self, features: Tensor) -> Tensor:
        return self.conv1(self.relu(self.bn1(features)))


class ActivatedBetween(Unusual):
    def forward(self, features: Tensor) -> Tensor:
        return self.bn1(self.relu(self.conv1(features)))


class CalledTwice(Unusual):
    def forward(self, features: Tensor) -> Tensor:
        return self.bn1(self.conv1(self.conv1(features)))


class UsedTwice(Unusual):
    def forward(self, features: Tensor) -> Tensor:
        convolved = self.conv1(features)
        return self.bn1(convolved) + convolved


@pytest.mark.parametrize("kind", [Preactivated, ActivatedBetween, CalledTwice])
def test_what_only_looks_like_a_pair_is_left_alone(kind: type[nn.Module]) -> None:
    model, inputs = trained(kind()).eval(), torch.randn(2, 4, 8, 8)
    fused = fuse_batch_norm(model, inputs)
    assert normalisations(fused) == 1
    with torch.no_grad():
        assert torch.equal(fused(inputs), model(inputs))


def test_an_output_used_beside_its_normalisation_is_an_error() -> None:
    with pytest.raises(RuntimeError, match="cannot be folded"):
        fuse_batch_norm(trained(UsedTwice()), torch.randn(2, 4, 8, 8))
