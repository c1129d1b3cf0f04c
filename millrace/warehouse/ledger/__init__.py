"""The ledger: applied batches, positions, leases and rejects.

What does not belong here: changes of targets (modes/, schema/).
"""
