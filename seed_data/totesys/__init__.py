"""A living sample source for the pipeline `totesys`: a retail back office whose days are simulated."""
