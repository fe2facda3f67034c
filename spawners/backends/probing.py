"""Whether a single-user server answers at an address."""

from http import HTTPStatus
from http.client import HTTPConnection, HTTPException

from jupyterhub.utils import url_path_join

__all__ = ["answers"]

_ANSWER_SECONDS = 2.0


def answers(address: tuple[str, int], base_url: str) -> bool:
    """Ask once, as JupyterHub will. Blocks for up to two seconds."""
    connection = HTTPConnection(*address, timeout=_ANSWER_SECONDS)
    try:
        connection.request("GET", url_path_join(base_url, "api"))
        return connection.getresponse().status < HTTPStatus.INTERNAL_SERVER_ERROR
    except (OSError, HTTPException):
        return False
    finally:
        connection.close()
