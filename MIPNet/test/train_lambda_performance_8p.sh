#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# 601 steps with lambda for their images per second: no evaluation. On eight devices.
#   bash test/train_lambda_performance_8p.sh --data_path=/data/coco
source "$(dirname "${BASH_SOURCE[0]}")/../../common/launch.sh"
launch 8 train --lambda --recipe=performance "$@"
