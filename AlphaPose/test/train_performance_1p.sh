#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# FastPose on ResNet-50, images a second, two epochs on one device.
#   bash test/train_performance_1p.sh --data_path=/data/coco
source "$(dirname "${BASH_SOURCE[0]}")/../../common/launch.sh"
launch 1 train --recipe=performance "$@"
