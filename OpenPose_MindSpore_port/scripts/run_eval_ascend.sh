#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# AP of a checkpoint on one device, that of DEVICE_ID or the first; further flags go to eval.py.
#   sh scripts/run_eval_ascend.sh [CHECKPOINT IMAGES ANNOTATIONS DEVICE_ID] [--flag=value ...]
# The exit status is the run's.
set -eu

model=$(cd "$(dirname "$0")/.." && pwd)
device=${DEVICE_ID:-0}
case ${1:---} in
  --*) ;;
  *)
    if [ $# -lt 4 ]; then
      echo "error: usage: sh scripts/run_eval_ascend.sh [CHECKPOINT IMAGES ANNOTATIONS DEVICE_ID] [--flag=value ...]" >&2
      exit 2
    fi
    checkpoint=$1 images=$2 annotations=$3 device=$4
    shift 4
    set -- --model_path="$checkpoint" --imgpath_val="$images" --ann="$annotations" "$@"
    ;;
esac
exec bash "$model/test/eval.sh" --device_id="$device" "$@"
