"""What a user declares: pipelines, streams, captures, load modes, models; checked when they are made."""
