#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# AP of a checkpoint on the validation images: of MindSpore, of PyTorch, or exported.
#   bash test/eval.sh --data_path=/data/coco --model_path=0-6_30000.ckpt
source "$(dirname "${BASH_SOURCE[0]}")/../../common/launch.sh"
launch 1 eval "$@"
