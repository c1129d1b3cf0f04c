"""What a run does with one stream: choose what to read, read it, check it and write it to the lake.

What does not belong here: the order of streams and retries (flows/, tasks/), and loading (warehouse/).
"""
