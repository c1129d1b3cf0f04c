"""The `millrace` command, on top of the flows. What does not belong here: anything a flow could not do alone."""
