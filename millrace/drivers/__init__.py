"""Drivers of databases and queues: their errors as Millrace's, sessions, threads."""
