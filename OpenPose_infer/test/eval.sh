#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# AP and images a second of a network in any format, the whole chain in memory.
#   bash test/eval.sh --data_path=/data/coco --model=output/human-pose-estimation.onnx
source "$(dirname "${BASH_SOURCE[0]}")/../../common/launch.sh"
launch 1 infer "$@"
