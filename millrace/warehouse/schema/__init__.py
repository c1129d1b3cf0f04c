"""Tables of the warehouse: which schema changes a load needs, and the SQL that makes them.

What does not belong here: rows (modes/).
"""
