"""Hashes of rows, by which a change is told."""
