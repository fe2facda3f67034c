"""Signing in through OpenID providers: which there are, what they say, and whether to believe it."""
