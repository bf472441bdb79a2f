#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# AP of a checkpoint or an exported network, with the given boxes or those of a detector (--detections).
#   bash test/eval.sh --data_path=/data/coco --checkpoint=model_best.pth
source "$(dirname "${BASH_SOURCE[0]}")/../../common/launch.sh"
launch 1 eval "$@"
