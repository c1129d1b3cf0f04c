"""Warehouse: stage batches and apply them, with the ledger, for Redshift and Postgres.

What does not belong here: anything about sources.
"""
