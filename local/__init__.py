"""The whole stack on one machine, without Docker: for tests, demonstrations and development.

The product never imports it; it knows only URLs and endpoints.
"""
