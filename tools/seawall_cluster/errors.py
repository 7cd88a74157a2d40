"""What is told to the person at the keyboard in one line, without a traceback."""

from __future__ import annotations


class ClusterError(Exception):
    """Something that the reader of the message can act on."""

    exit_code = 1


class CannotRunHereError(ClusterError):
    """This machine or this user cannot run the built-in cluster at all."""

    exit_code = 2
