#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# The published recipe on the devices that a rank table of HCCL gives this server; further flags go to train.py.
#   sh scripts/run_distribute_train.sh RANK_TABLE_FILE [IMAGES ANNOTATIONS MASKS VGG] [--flag=value ...]
# The exit status is the run's.
set -eu

model=$(cd "$(dirname "$0")/.." && pwd)
root=$(dirname "$model")
python=${PYTHON:-$root/.venv/bin/python}
[ -x "$python" ] || python=$(command -v python3)

usage() {
  echo "error: usage: sh scripts/run_distribute_train.sh RANK_TABLE_FILE [IMAGES ANNOTATIONS MASKS VGG] [--flag=value ...]" >&2
  exit 2
}

# whether the first word is there and is no flag
is_path() {
  case ${1:---} in --*) return 1 ;; esac
}

is_path "$@" || usage
table=$1
shift
if is_path "$@"; then
  [ $# -ge 4 ] || usage
  images=$1 annotations=$2 masks=$3 vgg=$4
  shift 4
  set -- --imgpath_train="$images" --jsonpath_train="$annotations" --maskpath_train="$masks" --vgg_path="$vgg" "$@"
fi
export PYTHONPATH="$root${PYTHONPATH:+:$PYTHONPATH}" TORCH_DEVICE_BACKEND_AUTOLOAD="${TORCH_DEVICE_BACKEND_AUTOLOAD:-0}"
exec "$python" -m OpenPose_MindSpore_port.rank_table "$table" "$model/test/train_full_8p.sh" "$@"
