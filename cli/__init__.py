"""The command `millrace`: it starts flows and shows their results.

What does not belong here: anything that a flow could not do alone.
"""
