"""A model whose service time is known exactly: it sleeps, and takes no processor while it does.

So a machine of two cores can hold as many pods as an autoscaler asks for, and what is measured is how they
are sized, not how they fight for the cores.
"""

import json
import time

import numpy as np
import triton_python_backend_utils as pb_utils


class TritonPythonModel:
    def initialize(self, args):
        given = json.loads(args["model_config"])["parameters"]
        number = {name: float(value["string_value"]) for name, value in given.items()}
        self._base, self._each = number["base_ms"] / 1e3, number["each_ms"] / 1e3
        time.sleep(number["load_seconds"])

    def execute(self, requests):
        end = time.monotonic()
        rows = [pb_utils.get_input_tensor_by_name(request, "x").as_numpy() for request in requests]
        end += self._base + self._each * sum(len(each) for each in rows)
        answers = [pb_utils.Tensor("y", np.ascontiguousarray(each)) for each in rows]
        time.sleep(max(0.0, end - time.monotonic()))
        return [pb_utils.InferenceResponse([answer]) for answer in answers]
