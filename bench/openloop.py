"""Requests at given moments, whatever becomes of those before: an open loop, without coordinated omission.

A latency counts from the moment at which the request was due, not from the one at which a busy client got
round to sending it. Every request has a connection of its own, so that a Service without a gateway spreads
requests as the model `random` says.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import time
from pathlib import Path

import aiohttp
import numpy as np

TIMEOUT_SECONDS = 10.0
MOST_OUTSTANDING = 2000
"""Beyond it a request counts as failed unsent: the target has been lost long before."""
BODY = json.dumps({"inputs": [{"name": "x", "shape": [1, 1], "datatype": "FP32", "data": [1.0]}]}).encode()
FAILED = np.inf


class OpenLoop:
    def __init__(self, url: str, host: str | None, due: np.ndarray) -> None:
        self._url = url
        self._headers = {"Content-Type": "application/json"} | ({"Host": host} if host else {})
        self._due = due
        self.latency = np.full(len(due), np.nan)
        """seconds by request; infinite where it failed"""
        self.sent_late = 0.0
        """worst delay between due and sent: the load generator's own fault"""
        self._outstanding = 0

    async def run(self) -> None:
        connector = aiohttp.TCPConnector(force_close=True, limit=0, ttl_dns_cache=3600)
        timeout = aiohttp.ClientTimeout(total=TIMEOUT_SECONDS)
        async with aiohttp.ClientSession(connector=connector, timeout=timeout) as session:
            began = time.monotonic()
            async with asyncio.TaskGroup() as tasks:
                for index, due in enumerate(self._due):
                    wait = began + due - time.monotonic()
                    if wait > 0:
                        await asyncio.sleep(wait)
                    self.sent_late = max(self.sent_late, -wait)
                    tasks.create_task(self._ask(session, index, began + due))

    async def _ask(self, session: aiohttp.ClientSession, index: int, due: float) -> None:
        if self._outstanding >= MOST_OUTSTANDING:
            self.latency[index] = FAILED
            return
        self._outstanding += 1
        try:
            async with session.post(self._url, data=BODY, headers=self._headers) as answer:
                await answer.read()
                good = answer.status == 200
        except (aiohttp.ClientError, TimeoutError, OSError):
            good = False
        finally:
            self._outstanding -= 1
        self.latency[index] = time.monotonic() - due if good else FAILED


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--url", required=True, help="where to POST, the whole path")
    parser.add_argument("--host", help="the Host header, for a gateway")
    parser.add_argument("--due", type=Path, required=True, help=".npy: seconds from the start, sorted")
    parser.add_argument(
        "--out", type=Path, required=True, help=".npy: latency of each in seconds, inf = failed"
    )
    args = parser.parse_args()
    load = OpenLoop(args.url, args.host, np.load(args.due))
    asyncio.run(load.run())
    np.save(args.out, load.latency)
    print(json.dumps({"requests": len(load.latency), "sentLateSeconds": round(load.sent_late, 3)}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
