"""Measurements of the real product; nothing is asserted. `make bench`, or `python -m tests.bench --help`."""
