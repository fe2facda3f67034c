"""The gateway: the one process that reaches the batch sites, through ssh alone."""
