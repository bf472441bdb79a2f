#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# HRNet-W48 with lambda on pairs of people in one box, from the plain network. On one device.
#   bash test/train_lambda_full_1p.sh --data_path=/data/coco
source "$(dirname "${BASH_SOURCE[0]}")/../../common/launch.sh"
launch 1 train --lambda --recipe=full "$@"
