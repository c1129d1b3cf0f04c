"""Lake: immutable files in an object store, and their manifests.

What does not belong here: what the rows mean.
"""
