"""The access desk's web application: what the federation offers, requests and their decisions, on pages.

It holds nothing of its own: people are told by the hub, requests by their store. Pages work without JavaScript, change
something only by POST, and ask for rights in one place (`rights.py`). It knows nothing of JupyterHub: whoever runs it
hands in how people sign in.
"""
