"""Infrastructure: the AWS resources of an environment, the work pool, and their deployment.

What does not belong here: the program that runs there.
"""
