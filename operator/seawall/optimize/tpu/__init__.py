"""StableHLO for TPUs: exported by jax.export on any machine, verified on a CPU, served by Triton's Python
backend. jax lives in an environment of its own (tools/venv tpu) and is asked through a process."""

from seawall.optimize.tpu.precision import compress

__all__ = ["compress"]
