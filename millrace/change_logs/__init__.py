"""Change logs of databases: which keys changed, up to which position the log was read, and in which snapshot.

What does not belong here: the values of rows, which are read from the tables (sources); what the target makes of them.
"""
