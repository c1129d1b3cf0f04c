"""The ledger: applied batches, positions, leases, rejects."""
