"""What should exist: pure builders from a spec to plain Kubernetes manifests, one kind per file."""
