"""Sample data of the pipeline `stori`: made, imported into Postgres and MongoDB, and changed."""
