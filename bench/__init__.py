"""Measurements, run by hand; they report and assert nothing. What does not belong here: tests."""
