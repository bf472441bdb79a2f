# SPDX-License-Identifier: Apache-2.0
"""Networks with weights set by hand that find the people of `common.test.blob_people`: nothing is trained.

Channel c of such a network carries colour c from the image to heatmap c; the pafs are constant.
"""

from common.test.blob_people import COLOURS, SIZE, write_data
from Lightweight_OpenPose.model import ContextModule, PoseEstimationWithMobileNet, conv_depthwise

import torch
from torch import nn

__all__ = ["COLOURS", "SIZE", "Small", "finder", "write_data"]


class Small(PoseEstimationWithMobileNet):
    """The layers' names of the real network, a handful of channels."""

    def __init__(self, stages: int = 1) -> None:
        super().__init__(stages, COLOURS + 1, 4, num_channels=8)
        stem = nn.Sequential(nn.Conv2d(3, 8, 3, 2, 1, bias=False), nn.BatchNorm2d(8), nn.ReLU(inplace=True))
        self.model = nn.Sequential(stem, *(conv_depthwise(8, 8, 2) for _ in range(2)))
        self.cpm = ContextModule(8, 8)


def finder(model: PoseEstimationWithMobileNet, loud: tuple[int, ...] = ()) -> PoseEstimationWithMobileNet:
    """The same network, finding people. Backbone blocks `loud` carry a channel of values 20,000 times as large.

    Nothing reads that channel, but it spreads the 256 steps of 8 bits so far that the colours fall between two.
    """
    with torch.no_grad():
        for name, layer in model.named_modules():
            if isinstance(layer, nn.Conv2d):
                _carry(layer, "trunk" in name and ("cpm" in name or ".trunk." in name.split("trunk", 1)[1]))
        for stage in (model.initial_stage, *model.refinement_stages):
            stage.heatmaps[1][0].weight *= 2
            stage.pafs[1][0].weight.zero_()
            stage.pafs[1][0].bias.copy_(torch.tensor([-0.7, 0.7, 0.7, 0.7]))
        for block in loud:
            layer = [part for part in model.model[block] if isinstance(part, nn.Conv2d)][-1]
            layer.weight[COLOURS, :COLOURS, layer.kernel_size[0] // 2, layer.kernel_size[1] // 2] = 20_000
    return model.eval()


def _carry(layer: nn.Conv2d, silent: bool) -> None:
    """Weights that hand the colours on; none where `silent`: the branch beside a sum."""
    row, column = (length // 2 for length in layer.kernel_size)
    layer.weight.zero_()
    if layer.bias is not None:
        layer.bias.zero_()
    for channel in range(0 if silent else COLOURS):
        layer.weight[channel, channel if layer.groups == 1 else 0, row, column] = 1
