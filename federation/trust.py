"""Whose certificates count: those of the machine's authorities, as for every other program there, and not those of a list
that comes with a library. `SSL_CERT_FILE` and `SSL_CERT_DIR` name others, as OpenSSL has it.
"""

import ssl
from functools import cache

__all__ = ["VARIABLES", "trusted"]

VARIABLES = ("SSL_CERT_FILE", "SSL_CERT_DIR")


@cache
def trusted() -> ssl.SSLContext:
    """For clients; read once, since that takes tens of milliseconds."""
    return ssl.create_default_context()
