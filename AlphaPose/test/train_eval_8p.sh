#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# AP of a checkpoint with the given boxes, on eight devices.
#   bash test/train_eval_8p.sh --data_path=/data/coco --checkpoint=final_DPG.pth
source "$(dirname "${BASH_SOURCE[0]}")/../../common/launch.sh"
launch 8 eval "$@"
