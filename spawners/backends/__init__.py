"""Places to run: one module for each kind of site."""
