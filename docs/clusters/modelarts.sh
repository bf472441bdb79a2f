#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# The boot command of a training job on ModelArts, run on each of its servers:
#   bash docs/clusters/modelarts.sh --data_path=/cache/coco --step=1 --output_dir=/cache/run
# The first server keeps the checkpoints: copy its output folder to OBS, or name one on SFS Turbo. LAUNCHER names another
# launcher than that of Lightweight OpenPose.
set -euo pipefail

export NODE_RANK=$VC_TASK_INDEX
exec bash "${LAUNCHER:-Lightweight_OpenPose/test/train_full_8p.sh}" --ranks="$MA_NUM_GPUS" --nnodes="$MA_NUM_HOSTS" \
  --rdzv_endpoint="${VC_WORKER_HOSTS%%,*}:29400" "$@"
