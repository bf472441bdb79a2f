#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# The published recipe, one of its three steps; each begins from the step before. On 8 devices.
#   bash test/train_full_8p.sh --data_path=/data/coco --step=1
source "$(dirname "${BASH_SOURCE[0]}")/../../common/launch.sh"
launch 8 train --recipe=full "$@"
