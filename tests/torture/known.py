"""Defects of the engine that the machine has found and that are not mended yet: each switch leaves out the step, or
accepts the outcome, that would find it again. Take a switch away when its defect is mended.

What does not belong here: anything else.
"""

REPLAY_KEEPS_DELETED = True
"""A rejected row that is gone from the source stays in the target after a replay, until the next sweep."""
