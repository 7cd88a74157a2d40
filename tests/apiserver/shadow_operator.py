"""The operator of `mortal_operator`, with a comparator that has counted what SEAWALL_TEST_TALLY says."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

import mortal_operator

import seawall.adapters.triton
import seawall.cli.operator
from seawall.__main__ import main
from seawall.canary.shadow import Tally
from seawall.decide.types import TallyRequest


def counts() -> dict[str, Any]:
    told: dict[str, Any] = json.loads(Path(os.environ["SEAWALL_TEST_TALLY"]).read_text())
    return told


class Servers(mortal_operator.Servers):
    async def tally(self, request: TallyRequest) -> Tally:
        assert request.address.endswith(":8000"), request
        return Tally(**counts(), order=request.order)


if __name__ == "__main__":
    seawall.adapters.triton.TritonInference = Servers  # type: ignore[assignment,misc]
    seawall.cli.operator._metrics = lambda settings: mortal_operator.Counters()  # type: ignore[assignment,return-value]
    sys.argv[1:] = ["operator"]
    sys.exit(main())
