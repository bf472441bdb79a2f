#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# The published recipe: 60 epochs from VGG19's weights. On 8 devices.
#   bash test/train_full_8p.sh --data_path=/data/coco --vgg_path=vgg19-0-97_5004.ckpt
source "$(dirname "${BASH_SOURCE[0]}")/../../common/launch.sh"
launch 8 train --recipe=full "$@"
