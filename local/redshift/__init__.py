"""A strict stand-in for Amazon Redshift: a proxy in front of a PostgreSQL server, with its wire protocol.

``python -m local.redshift`` runs it as a process. It refuses what Redshift refuses, and names the rule of AWS.

What does not belong here: anything that the product imports; it knows only a URL and an endpoint.
"""

BACKEND_URL = "STANDIN_BACKEND_URL"
"""The variable that holds postgresql://superuser:password@host:port/database.

It is no argument, because everybody could read a command line.
"""
