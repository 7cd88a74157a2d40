"""A classifier whose answers and waiting times are known exactly, so that a rollout of it can be proven.

`x` is a whole number, and its class is a fixed function of it. The parameters of config.pbtxt say how long an
answer takes, which share of the answers takes longer, and which inputs get the class beside the right one.
`mark` is added to every score: it changes no class, and tells a client which version has answered. Waiting
takes no processor, so that a small machine holds several pods.
"""

import json
import random
import time

import numpy as np
import triton_python_backend_utils as pb_utils

CLASSES = 10


class TritonPythonModel:
    def initialize(self, args):
        given = json.loads(args["model_config"])["parameters"]
        number = {name: float(value["string_value"]) for name, value in given.items()}
        self._mark, self._wrong_every = number["mark"], int(number["wrong_every"])
        self._usual, self._late = number["usual_ms"] / 1e3, number["late_ms"] / 1e3
        self._late_share = number["late_share"]

    def execute(self, requests):
        due = time.monotonic() + (self._late if random.random() < self._late_share else self._usual)
        answers = [self._answer(pb_utils.get_input_tensor_by_name(r, "x").as_numpy()) for r in requests]
        time.sleep(max(0.0, due - time.monotonic()))
        return answers

    def _answer(self, x):
        number = x[:, 0].astype(np.int64)
        classes = number * 7 % CLASSES
        if self._wrong_every:
            classes = (classes + (number % self._wrong_every == 0)) % CLASSES
        scores = np.eye(CLASSES, dtype=np.float32)[classes] + np.float32(self._mark)
        return pb_utils.InferenceResponse([pb_utils.Tensor("scores", scores)])
