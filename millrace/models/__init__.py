"""Models: compute tables from batches of streams.

What does not belong here: how their rows get into the warehouse (warehouse/).
"""
