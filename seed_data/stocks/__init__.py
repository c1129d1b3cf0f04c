"""A living sample source for the pipeline `stocks`: a stock platform whose days are simulated."""
