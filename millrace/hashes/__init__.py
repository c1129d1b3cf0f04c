"""Hashes of rows, by which changed rows are found.

What does not belong here: the comparison of hashes (warehouse/).
"""
