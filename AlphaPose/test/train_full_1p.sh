#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# FastPose on ResNet-50, the published recipe on one device.
#   bash test/train_full_1p.sh --data_path=/data/coco
source "$(dirname "${BASH_SOURCE[0]}")/../../common/launch.sh"
launch 1 train --recipe=full "$@"
