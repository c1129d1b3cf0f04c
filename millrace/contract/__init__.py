"""Contract: accept each row or reject it with a reason. What does not belong here: decoding and shaping."""
