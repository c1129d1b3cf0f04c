"""What every room of the engine may use: errors, types, names, rejects."""
