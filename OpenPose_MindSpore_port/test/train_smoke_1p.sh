#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# A small network input and few steps, to see the whole way on the embedded data set. On one device.
#   bash test/train_smoke_1p.sh --data_path=mini
source "$(dirname "${BASH_SOURCE[0]}")/../../common/launch.sh"
launch 1 train --recipe=smoke "$@"
