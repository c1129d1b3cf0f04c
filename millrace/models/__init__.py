"""Models: tables computed from batches of streams."""
