"""People: who they are, what they may use and why."""
