"""What one run of a stream does: choose what to read, read it, check it and write it to the lake."""
