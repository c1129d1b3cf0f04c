"""A project of one's own: pipelines that Millrace runs, in a repository of their own."""
