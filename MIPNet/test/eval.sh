#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# AP of a checkpoint on the validation images; --lambda: of the merged modes, and of each.
#   bash test/eval.sh --data_path=/data/coco --checkpoint_path=model_best.pth
source "$(dirname "${BASH_SOURCE[0]}")/../../common/launch.sh"
launch 1 eval "$@"
