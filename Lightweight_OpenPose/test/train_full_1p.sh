#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# The published recipe, one of its three steps; each begins from the step before. On one device.
#   bash test/train_full_1p.sh --data_path=/data/coco --step=1
source "$(dirname "${BASH_SOURCE[0]}")/../../common/launch.sh"
launch 1 train --recipe=full "$@"
