# SPDX-License-Identifier: Apache-2.0
# docker build -f docker/cpu.Dockerfile -t pose_zoo:cpu .
# docker run --rm --shm-size=2g -v /data/coco:/data/coco:ro -v "$PWD/results:/results" pose_zoo:cpu \
#   python -m AlphaPose.train --data_path=/data/coco --output_dir=/results
FROM python:3.12-slim-bookworm

ARG TORCH=2.13.0
RUN pip install --no-cache-dir "torch==${TORCH}" --index-url https://download.pytorch.org/whl/cpu

RUN useradd --create-home --uid 1000 user && mkdir /results && chown user /results
WORKDIR /pose_zoo
COPY --chown=user . .
RUN pip install --no-cache-dir --editable ".[infer,openvino,tensorboard,mindspore,web]"

USER 1000
ENV PYTHON=python3 PYTHONUNBUFFERED=1
CMD ["python", "-m", "tools.doctor", "--output_dir=/results"]
