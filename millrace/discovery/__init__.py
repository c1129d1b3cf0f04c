"""Discovery: from what a catalog says to the file of a pipeline, for `millrace init`.

What does not belong here: questions to a server (sources), and anything that a run needs.
"""
