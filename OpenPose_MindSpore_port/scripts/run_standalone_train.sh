#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# The published recipe on one device, that of DEVICE_ID or the first; further flags go to train.py.
#   sh scripts/run_standalone_train.sh [IMAGES ANNOTATIONS MASKS VGG DEVICE_ID] [--flag=value ...]
# The exit status is the run's.
set -eu

model=$(cd "$(dirname "$0")/.." && pwd)
device=${DEVICE_ID:-0}
case ${1:---} in
  --*) ;;
  *)
    if [ $# -lt 5 ]; then
      echo "error: usage: sh scripts/run_standalone_train.sh [IMAGES ANNOTATIONS MASKS VGG DEVICE_ID] [--flag=value ...]" >&2
      exit 2
    fi
    images=$1 annotations=$2 masks=$3 vgg=$4 device=$5
    shift 5
    set -- --imgpath_train="$images" --jsonpath_train="$annotations" --maskpath_train="$masks" --vgg_path="$vgg" "$@"
    ;;
esac
exec bash "$model/test/train_full_1p.sh" --device_id="$device" "$@"
