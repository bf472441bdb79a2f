#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Five epochs of the published recipe from a checkpoint. On one device.
#   bash test/train_finetune_1p.sh --data_path=/data/coco --pth_path=model_best.pth
source "$(dirname "${BASH_SOURCE[0]}")/../../common/launch.sh"
launch 1 train --recipe=finetune "$@"
