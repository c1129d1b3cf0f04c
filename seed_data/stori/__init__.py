"""Sample data of the pipeline `stori`: generated, imported into Postgres and MongoDB, and changed.

What does not belong here: the pipeline that reads it (pipelines/stori).
"""
