"""The moving parts: watch, store, queue, lease and the reconcile loop."""
