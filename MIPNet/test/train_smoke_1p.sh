#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# A small network and input and few epochs, enough for the embedded data set; --lambda too. On one device.
#   bash test/train_smoke_1p.sh --data_path=mini
source "$(dirname "${BASH_SOURCE[0]}")/../../common/launch.sh"
launch 1 train --recipe=smoke "$@"
