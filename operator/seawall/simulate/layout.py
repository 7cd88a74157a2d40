"""What the inner loop works on: arrays, named, in a shape that machine code takes."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Words = npt.NDArray[np.uint64]


class Setup(NamedTuple):
    """What stays the same during a run."""

    mean: Floats  # seconds, by batch size
    std: Floats
    batch: int
    instances: int
    delay: float
    queue: int  # most that may wait in a pod; 0: no bound
    overhead: float
    slo: float
    dispatch: int
    bucket: Ints  # of the scraped histogram, by bin
    own: int  # 1: every pod keeps a summary of its own


class State(NamedTuple):
    """What a run changes. Pods are slots of the first axis; waiting requests are nodes of linked lists."""

    words: Words  # random state of dispatching and serving
    tally: Ints
    total: Floats
    arrival: Floats  # by node
    after: Ints  # by node
    first: Ints  # by pod
    last: Ints
    waiting: Ints
    outstanding: Ints
    idle: Ints
    due: Floats  # next event by pod
    until: Floats  # by pod and instance
    held: Ints
    slow: Floats  # factor on service times, by pod
    histogram: Ints  # by bin
    scraped: Ints  # by scrape and bucket
    ended: Ints  # by scrape
    busy: Floats  # by scrape
    offered: Ints  # by second
    refused: Ints  # by second
    batches: Ints  # by scrape and size
    batch_seconds: Floats
    minute: Ints  # offered, by minute
    minute_good: Ints
    served: Ints  # by pod and scrape
    summary: Ints  # by pod, epoch (going round) and bin; without summaries one epoch of one bin
    epoch: Ints  # which epoch is kept there, by pod
    connection: Ints  # by node: the one that its request came by
    pod_of: Ints  # by connection; -1: closed
    idle_at: Floats  # by connection; inf: its request waits
