"""Contract: accept each row, or reject it with a reason.

What does not belong here: decoding of values (sources/), and what happens with rejects (runs/).
"""
