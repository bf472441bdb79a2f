#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Trains on servers that ssh reaches without a password, the project at the same path on each. From its folder:
#   bash docs/clusters/ssh.sh node1,node2 --data_path=/data/coco --step=1 --output_dir=/shared/run
# Ctrl-C ends it everywhere. LAUNCHER names another launcher than that of Lightweight OpenPose.
set -euo pipefail

IFS=, read -r -a hosts <<<"$1"
shift
launcher=${LAUNCHER:-Lightweight_OpenPose/test/train_full_8p.sh}
command=(bash "$launcher" "--nnodes=${#hosts[@]}" "--rdzv_endpoint=${hosts[0]}:29400" "$@")
launches=()
for host in "${hosts[@]}"; do
  # a terminal (-tt): the launcher over there ends with this connection, and its ranks with the launcher
  ssh -tt -o BatchMode=yes "$host" "cd $(printf %q "$PWD") && $(printf '%q ' "${command[@]}")" </dev/null &
  launches+=($!)
done
trap 'kill "${launches[@]}" 2>/dev/null' INT TERM
code=0
for launch in "${launches[@]}"; do
  wait "$launch" || code=$?
done
exit "$code"
