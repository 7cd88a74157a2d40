"""A request-level simulation of the autoscalers: the evidence behind the scaler, and a tool to choose with.

Reached from the command line alone: it may be as heavy as it likes, the operator never imports it.
"""
