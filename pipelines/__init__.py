"""What is moved: a package per pipeline, each with a value ``pipeline``, its contracts, models and schemas."""
