"""The custom.metrics.k8s.io API: a thin HTTP face on what the reconcile already knows."""
