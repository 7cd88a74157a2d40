"""The build pipeline: from a model as its author left it to one that is smaller, faster, proven and digested.

Runs in a Job of the cluster and by `seawall optimize` on a laptop: the same stages in the same order. It
knows the resources (`api`) and how to read a uri (`fetch`), and nothing else of the operator, whose image
stays small because nothing of the operator imports this.
"""
