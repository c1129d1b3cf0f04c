"""Queues: collect messages into the lake, and read the lake as a source."""
