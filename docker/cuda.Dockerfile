# SPDX-License-Identifier: Apache-2.0
# docker build -f docker/cuda.Dockerfile -t pose_zoo:cuda .
# docker run --rm --gpus=all --shm-size=8g -v /data/coco:/data/coco:ro -v "$PWD/results:/results" pose_zoo:cuda \
#   bash AlphaPose/test/train_full_8p.sh --data_path=/data/coco --output_dir=/results
# PyTorch's own packages bring CUDA; the machine needs its driver and the NVIDIA Container Toolkit.
FROM python:3.12-slim-bookworm

ARG TORCH=2.13.0
RUN pip install --no-cache-dir "torch==${TORCH}"

RUN useradd --create-home --uid 1000 user && mkdir /results && chown user /results
WORKDIR /pose_zoo
COPY --chown=user . .
RUN pip install --no-cache-dir --editable ".[infer,openvino,tensorboard,mindspore,web]"

USER 1000
ENV PYTHON=python3 PYTHONUNBUFFERED=1 NVIDIA_VISIBLE_DEVICES=all NVIDIA_DRIVER_CAPABILITIES=compute,utility
CMD ["python", "-m", "tools.doctor", "--device=cuda", "--output_dir=/results"]
