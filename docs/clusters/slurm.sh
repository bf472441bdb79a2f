#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Trains on the servers of a Slurm job, one launcher on each. From the folder of the project, on a shared disk:
#   sbatch --nodes=4 docs/clusters/slurm.sh --data_path=/data/coco --step=1 --output_dir=/shared/run
# LAUNCHER names another launcher than that of Lightweight OpenPose; NPUs: sbatch --gpus-per-node=0 --gres=npu:8.
#SBATCH --job-name=pose
#SBATCH --nodes=2
#SBATCH --ntasks-per-node=1
#SBATCH --cpus-per-task=64
#SBATCH --gpus-per-node=8
#SBATCH --no-kill
#SBATCH --requeue
#SBATCH --open-mode=append
#SBATCH --signal=TERM@120
set -euo pipefail

read -r first < <(scontrol show hostnames "$SLURM_JOB_NODELIST")
exec srun bash "${LAUNCHER:-Lightweight_OpenPose/test/train_full_8p.sh}" --nnodes="$SLURM_JOB_NUM_NODES" \
  --rdzv_endpoint="$first:29400" --rdzv_id="$SLURM_JOB_ID" "$@"
