"""The access desk for programs: `/services/desk/api/v1`, JSON, described by OpenAPI.

The same rights (`rights.py`), the same table of transitions and the same reads as the pages; only the form differs. What
goes wrong is a problem document with a code of the catalogue.
"""
