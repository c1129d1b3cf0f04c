"""Drivers of databases and queues: their errors as errors of Millrace, their sessions and threads.

What does not belong here: what is read or written (sources/, queues/, warehouse/).
"""
