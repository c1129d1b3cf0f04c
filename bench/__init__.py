"""Measurements, run by hand; they print numbers and check nothing.

What does not belong here: tests (tests/).
"""
