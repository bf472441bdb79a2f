#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# The exported network -> an .om for an Ascend chip, with ATC; flags as in common/runtime/convert_om.sh.
#   bash convert_om.sh --model=./output/human-pose-estimation.onnx --output=./output/human-pose-estimation_bs1 \
#     --batch_size=1 --soc_version=Ascend310P3
# `npu-smi info` shows the chip: Ascend310 for a 310, Ascend310P3 for a 710 or 310P3.
set -euo pipefail

exec bash "$(dirname "${BASH_SOURCE[0]}")/../common/runtime/convert_om.sh" --model=./output/human-pose-estimation.onnx \
  --soc_version=Ascend310P3 "$@"
