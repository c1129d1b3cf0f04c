"""A simulated sample source for the pipeline `totesys`: the back office of a shop, day by day.

What does not belong here: the pipeline that reads it (pipelines/totesys).
"""
