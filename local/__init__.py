"""The whole stack on one machine, without Docker: for tests, demonstrations and development.

What does not belong here: anything that the product imports; it knows only URLs and endpoints.
"""
