"""Lake: immutable files and their manifests. What does not belong here: what the rows mean."""
