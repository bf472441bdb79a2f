#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Plain HRNet-W48 at 384x288, the published recipe. On one device.
#   bash test/train_full_1p.sh --data_path=/data/coco
source "$(dirname "${BASH_SOURCE[0]}")/../../common/launch.sh"
launch 1 train --recipe=full "$@"
