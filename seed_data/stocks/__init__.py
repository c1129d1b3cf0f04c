"""A simulated sample source for the pipeline `stocks`: a stock platform, day by day.

What does not belong here: the pipeline that reads it (pipelines/stocks).
"""
