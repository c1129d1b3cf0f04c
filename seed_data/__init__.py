"""Sample data: generators, simulations of sources, and the import into them.

What does not belong here: anything that the engine reads.
"""
