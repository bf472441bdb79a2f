#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# 500 steps of the published recipe for their images per second: no evaluation. On one device.
#   bash test/train_performance_1p.sh --data_path=/data/coco
source "$(dirname "${BASH_SOURCE[0]}")/../../common/launch.sh"
launch 1 train --recipe=performance "$@"
