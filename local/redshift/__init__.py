"""A strict stand-in for Amazon Redshift: a PostgreSQL-wire proxy in front of a real PostgreSQL.

Run as ``python -m local.redshift``, a process of its own. It refuses what Redshift refuses and names the rule.
What does not belong here: anything production code imports; it knows the stand-in by a URL and an endpoint only.
"""

BACKEND_URL = "STANDIN_BACKEND_URL"
"""The variable that holds postgresql://superuser:password@host:port/database. Everybody could read a command line."""
