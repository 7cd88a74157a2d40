"""The init container's work: bring the model, prove that it is the right one, lay it out as Triton wants it.

It runs in the path of every pod's start and reads what strangers wrote. So it imports late, streams with
bounded memory, verifies before it parses, and tells every expected failure in one sentence.
"""
