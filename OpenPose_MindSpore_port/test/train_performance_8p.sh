#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# 500 steps of the published recipe for their images per second: no evaluation. On 8 devices.
#   bash test/train_performance_8p.sh --data_path=/data/coco
source "$(dirname "${BASH_SOURCE[0]}")/../../common/launch.sh"
launch 8 train --recipe=performance "$@"
