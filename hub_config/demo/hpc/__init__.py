"""Batch sites of one node on this machine: for `make run HPC=1`, and for tests."""
