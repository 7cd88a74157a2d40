"""How many examples the property tests try: hundreds in `make check`, thousands in `make test`."""

import os

EXAMPLES = int(os.environ.get("SEAWALL_EXAMPLES", "200"))
