# SPDX-License-Identifier: Apache-2.0
"""People in any number of images, on one machine or a cluster.

source  ->  job: the list of images in shards     ->  worker, one a device: a shard at a time     ->  results
            (inputs.parquet, job.json, a lock)        read, detector, network, people; a file         AP, COCO results

Ray Data hands the shards to the workers, and again where a worker was lost. Images never enter Ray's object store.
"""
