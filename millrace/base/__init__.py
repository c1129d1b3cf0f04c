"""What every package of Millrace may use: errors, types, names, rejects, time zones, redaction.

What does not belong here: anything that connects to a server or knows a declaration.
"""
