"""A simulated sample source for the pipeline `stocks`: a stock platform, day by day."""
