"""Product events as apps send them to a queue: 23 keys as JSON, some of them repeated, some malformed.

What does not belong here: the pipeline that loads them (pipelines/events).
"""
