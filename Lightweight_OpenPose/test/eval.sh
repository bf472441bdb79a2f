#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# AP of a checkpoint on the validation images. Without --checkpoint_path: the best one of the training step.
#   bash test/eval.sh --data_path=/data/coco --step=1 --checkpoint_path=model_best.pth
source "$(dirname "${BASH_SOURCE[0]}")/../../common/launch.sh"
launch 1 eval "$@"
