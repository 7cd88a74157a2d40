"""A real Kubernetes cluster on this machine, for the demo and the tests: upstream binaries, no Docker.

Only the standard library is used, because this runs before the project's environment may exist.
"""
