"""Databases that nobody made for Millrace, as a user brings them, and what happens to them.

What does not belong here: a declaration. Files for these databases are written by `millrace init`.
"""
