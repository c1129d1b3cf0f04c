"""Generated sample data, its generators and its import. Nothing here is read by the engine."""
