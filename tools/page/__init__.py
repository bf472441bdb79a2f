# SPDX-License-Identifier: Apache-2.0
"""A page in the browser: images, videos and the camera through one or several models, on your own machine.

browser  ->  security  ->  routes  ->  worker process: decoding, networks, drawing     (one call at a time)
                                   ->  job process: one video                          (people.jsonl, WebM)
"""
