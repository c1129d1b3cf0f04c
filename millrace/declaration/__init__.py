"""What a user declares: pipelines, streams, captures, load modes, models; checked when they are made.

What does not belong here: connections, and anything that runs.
"""
