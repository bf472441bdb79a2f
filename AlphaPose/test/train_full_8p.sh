#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# FastPose on ResNet-50, the published recipe on eight devices.
#   bash test/train_full_8p.sh --data_path=/data/coco
source "$(dirname "${BASH_SOURCE[0]}")/../../common/launch.sh"
launch 8 train --recipe=full "$@"
