"""A real nginx, with a configuration of one of our pages."""

import contextlib
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

from tests.support.missing import skip_or_fail

__all__ = ["nginx_or_skip", "running_nginx"]

_AROUND = """
daemon off;
user root;
pid {folder}/nginx.pid;
error_log {folder}/nginx.log;
events {{}}
http {{
access_log off;
client_body_temp_path {folder}/body;
proxy_temp_path {folder}/proxy;
{servers}
}}
"""
_SECONDS = 20


def nginx_or_skip() -> str:
    """The program; without it the test is skipped, or fails in CI."""
    program = shutil.which("nginx", path="/usr/sbin:/usr/bin")
    if program is None:
        skip_or_fail("nginx is not installed (on Debian as root, `make setup-test` does it)")
    return program


@contextlib.contextmanager
def running_nginx(folder: Path, servers: str) -> Iterator[None]:
    """nginx with these `server` blocks; its files are in the folder."""
    file, log, pid = folder / "nginx.conf", folder / "nginx.log", folder / "nginx.pid"
    file.write_text(_AROUND.format(folder=folder, servers=servers))
    process = subprocess.Popen([nginx_or_skip(), "-c", str(file), "-e", str(log)])
    try:
        deadline = time.monotonic() + _SECONDS
        while not pid.exists():  # written when it listens
            assert process.poll() is None, log.read_text()
            assert time.monotonic() < deadline, log.read_text()
            time.sleep(0.05)
        yield
    finally:
        process.terminate()
        process.wait(10)
