"""Seawall keeps model inference inside a latency SLO on Kubernetes."""

__version__ = "0.1.0"
