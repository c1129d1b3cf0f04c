"""Sources: read changed rows as typed chunks, and find the next position; one module per kind of source.

What does not belong here: judging rows (contract/) and writing them (lake/).
"""
