#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# HRNet-W48 with lambda on pairs of people in one box, from the plain network. On eight devices.
#   bash test/train_lambda_full_8p.sh --data_path=/data/coco
source "$(dirname "${BASH_SOURCE[0]}")/../../common/launch.sh"
launch 8 train --lambda --recipe=full "$@"
