"""The site's own record of what was asked for: a line for each request, for people to read and to search.

No secret and no script is in it, and nothing of a request that did not pass the checks: a line is always one line.
"""

import os
import time
from contextlib import suppress

from spawners.gate.checking import ACCOUNT, ATTEMPT, JOB, REQUEST_ID

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

SHOWN = (("id", REQUEST_ID), ("account", ACCOUNT), ("attempt", ATTEMPT), ("job", JOB))


def line(request: "dict[str, Any]", verb: str, answer: "dict[str, Any]", now: float, seconds: float) -> str:
    """`2026-11-24T22:26:09Z submit id=… account=… attempt=… -> ok job=17 (0.12 s)`."""
    parts = [time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(now)), verb]
    for name, pattern in SHOWN:
        value = request.get(name)
        if isinstance(value, str) and pattern.fullmatch(value):
            parts.append("%s=%s" % (name, value))
    parts.append("->")
    if answer["ok"]:
        parts.append("ok")
        parts += ["%s=%s" % (key, answer[key]) for key in ("job", "existed", "cancelled") if key in answer]
        parts += ["jobs=%d" % len(answer["jobs"])] if "jobs" in answer else []
    else:
        parts.append("%s: %s" % (answer["error"], ascii(answer["detail"])))
    return " ".join(parts) + " (%.2f s)" % seconds


def keep(where: str, text: str) -> None:
    """Append a line to the site's log. A file that cannot be written, because the disk is full for instance, must not
    stop a cancel: then the line goes to syslog.
    """
    if where != "syslog":
        with suppress(OSError):
            flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW
            file = os.open(where, flags, 0o640)
            try:
                os.write(file, (text + "\n").encode("ascii", "backslashreplace"))
            finally:
                os.close(file)
            return
    import syslog

    syslog.openlog("nbfed-gate", syslog.LOG_PID, syslog.LOG_AUTH)
    syslog.syslog(text)
