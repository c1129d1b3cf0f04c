"""Queues: collect messages into the lake, and read collected messages as a source.

What does not belong here: the client of a queue service (blocks/).
"""
