"""Shape: pure functions from frames to frames: flatten, hash, model. What does not belong here: input and output."""
