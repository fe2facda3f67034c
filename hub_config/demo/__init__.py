"""The demo sign-in, its personas and the federation.yaml that `nbfed up` runs with by default."""

CLIENT_ID = "notebooks"
"""As which client the hub signs people in at the demo sign-in."""
