"""Who keeps the leases of streams and how far they have come: the warehouse, or the lake.

What does not belong here: what is in the ledger (ledger/), and the leases' objects themselves (millrace/lake/lease.py).
"""
