#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# The published recipe: 60 epochs from VGG19's weights. On one device.
#   bash test/train_full_1p.sh --data_path=/data/coco --vgg_path=vgg19-0-97_5004.ckpt
source "$(dirname "${BASH_SOURCE[0]}")/../../common/launch.sh"
launch 1 train --recipe=full "$@"
