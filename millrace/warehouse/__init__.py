"""Warehouse: stage, apply, ledger, in one place for Redshift and Postgres. What does not belong here: sources."""
