"""Capture: read what changed. One module per kind of source, each gives typed chunks and the next position.

What does not belong here: judging rows (contract/), shaping them (shape/) and writing them (lake/).
"""
