"""Starts one notebook session, watches it, and leaves exact evidence of its start and its end.

    <prefix>/bin/python launcher.py FOLDER EXCHANGE_URL [--patience SECONDS] [--host ADDRESS] [--node NAME]
                                    [--ports FIRST-LAST] [-- ARGUMENT ...]

The promise:

- An attempt (a FOLDER) is started at most once, whoever asks, however often. `started.json` is the proof of the start.
- As long as this process lives, the session may live. When it has ended, nothing of the session is left on this node,
  and `ended.json` says how long it ran, to the fraction of a second. Where it is missing, this process was killed.
- That length does not depend on the time of day: it is taken from the seconds since the machine started, sleep
  included (CLOCK_BOOTTIME), which nobody can set. `ended_at` is `started_at` and that length.
- No secret is in an argument, in the initial environment or in the output. FOLDER/secret is exchanged for the
  session's environment; it outlasts every failed try and is deleted when the hub has confirmed the exchange.
- The port that `session.json` names is bound before the exchange and never released: nobody else can take it.

Two processes: the parent watches; its only child exchanges the secret and becomes the single-user server.

This file is complete by itself: it is copied to the nodes and run by the Python (3.8 or newer, on Linux) of any
environment that has jupyterhub and jupyter_server. Until the single-user server starts it uses the standard library
alone. What only the child needs it imports late, so that the parent, which lives as long as the session, stays small.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
import time
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import socket
    from urllib.request import OpenerDirector

USAGE = 2
ALREADY_STARTED = 3
NO_ANSWER = 4
UNSUPPORTED = 5
CANCELLED = 6

FIRST_PAUSE_SECONDS = 0.2
LONGEST_PAUSE_SECONDS = 5.0
REQUEST_SECONDS = 10.0
LARGEST_ANSWER_BYTES = 1_000_000
GRACE_SECONDS = 3.0
"""How long what the server left behind may take to end by itself."""
FORCE_SECONDS = 2.0
"""How long killed processes may take to vanish; one that hangs in the kernel must not hold up the end forever."""

WATCHED = {signal.SIGTERM, signal.SIGINT, signal.SIGCHLD}
PR_SET_PDEATHSIG = 1
PR_SET_CHILD_SUBREAPER = 36


def main(arguments: list[str]) -> int:
    """Run one attempt. Returns the exit code, in the child as in the parent."""
    options, server_arguments = parse(arguments)
    folder = os.path.abspath(options.folder)
    # Signals wait until the parent waits for them: one that killed it half-way would leave an attempt without an end.
    hold_signals()
    try:
        start = start_record(folder)
        if not write_json(folder, "started.json", start, once=True):
            say("this attempt was started before")
            return ALREADY_STARTED
    except OSError as error:
        say(f"{folder} cannot be used: {error.strerror}")
        return USAGE
    if os.path.lexists(os.path.join(folder, "cancelled")):
        record_end(folder, start, CANCELLED)
        return CANCELLED
    prctl(PR_SET_CHILD_SUBREAPER, 1)
    parent = os.getpid()
    child = os.fork()
    if child == 0:
        die_with(parent)
        return serve(folder, options, server_arguments)
    code = watch(child)
    end_descendants()
    record_end(folder, start, code)
    return code if code >= 0 else 128 - code


def parse(arguments: list[str]) -> tuple[argparse.Namespace, list[str]]:
    """The launcher's own options, and the arguments for the single-user server: all that follows the first `--`."""
    mark = arguments.index("--") if "--" in arguments else len(arguments)
    parser = argparse.ArgumentParser(prog="launcher.py", description="Start and watch one notebook session.")
    parser.add_argument("folder", help="the attempt's own folder, with its secret")
    parser.add_argument("exchange_url", help="where the hub exchanges the secret for the environment")
    parser.add_argument("--patience", type=float, default=1800.0, help="seconds to keep asking the hub (%(default)s)")
    parser.add_argument("--host", default="127.0.0.1", help="the address to listen at (%(default)s)")
    parser.add_argument("--node", help="the name to be found by, if not that address")
    parser.add_argument("--ports", type=port_range, help="listen at one of these (any free one)")
    return parser.parse_args(arguments[:mark]), arguments[mark + 1 :]


def port_range(text: str) -> range:
    """The ports from FIRST to LAST."""
    first, last = (int(part) for part in text.split("-"))
    if not 1 <= first <= last <= 65535:
        raise ValueError(text)
    return range(first, last + 1)


def say(text: str) -> None:
    """A line in the session's log."""
    print(f"launcher: {text}", flush=True)


# --- files --------------------------------------------------------------------------------------------------------


def write_json(folder: str, name: str, content: dict[str, Any], *, once: bool = False) -> bool:
    """Write a file that is whole as soon as it is there, readable by the owner alone.

    With `once`, returns False and changes nothing when the file exists, even if two processes try at the same moment.
    """
    path = os.path.join(folder, name)
    temporary = os.path.join(folder, f".{name}.{os.getpid()}.{time.time_ns()}")
    with os.fdopen(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        json.dump(content, file)
    if not once:
        os.replace(temporary, path)
        return True
    try:
        os.link(temporary, path)
    except OSError:
        # On NFS the answer to a link that was made can be lost. The count of links is the truth.
        if os.stat(temporary).st_nlink != 2 and not os.path.lexists(path):
            os.replace(temporary, path)  # A file system without hard links: as good as it gets.
            return True
    won = os.stat(temporary).st_nlink == 2
    os.unlink(temporary)
    return won


def start_record(folder: str) -> dict[str, Any]:
    """Who this process is, so that nobody takes a later process with its number for it.

    `create_time` is what `psutil.Process.create_time` says. It moves when the machine's clock is set; `boot_id`,
    `start_ticks` (clock ticks after boot) and `started_uptime` (seconds after boot) never do.
    """
    started_at, started_uptime = time.time(), uptime()
    ticks = int(stat_fields("self")[19])
    with open("/proc/stat") as file:
        boot_time = next(float(line.split()[1]) for line in file if line.startswith("btime"))
    with open("/proc/sys/kernel/random/boot_id") as file:
        boot_id = file.read().strip()
    return {
        "attempt": os.path.basename(folder),
        "pid": os.getpid(),
        "create_time": ticks / os.sysconf("SC_CLK_TCK") + boot_time,
        "boot_id": boot_id,
        "start_ticks": ticks,
        "started_at": started_at,
        "started_uptime": started_uptime,
    }


def uptime() -> float:
    """Seconds since this machine started, those that it slept included."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


def record_end(folder: str, start: dict[str, Any], exit_code: int) -> None:
    """Say how long the session ran, thus when it ended, and how (negative: by that signal)."""
    ran_seconds = uptime() - start["started_uptime"]
    end = {"ended_at": start["started_at"] + ran_seconds, "ran_seconds": ran_seconds, "exit_code": exit_code}
    try:
        write_json(folder, "ended.json", end)
    except OSError as error:  # A full disk must not change how the launcher itself ends.
        say(f"the end cannot be written: {error.strerror}")


# --- the parent ---------------------------------------------------------------------------------------------------


def hold_signals() -> None:
    """Keep the watched signals pending, whatever the one who started this process did to them."""
    signal.pthread_sigmask(signal.SIG_BLOCK, WATCHED)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)  # Ignored, children would vanish without an exit code.
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)


def watch(child: int) -> int:
    """Wait for the end of the child, handing on requests to end. Returns its exit code, negative for a signal."""
    while True:
        code = reap(child)
        if code is not None:
            return code
        if signal.sigwait(WATCHED) != signal.SIGCHLD:
            os.kill(child, signal.SIGTERM)


def reap(child: int | None = None) -> int | None:
    """Bury all children that are dead, adopted ones too. Returns the exit code of `child` if it is among them."""
    code = None
    while True:
        try:
            pid, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return code
        if pid == 0:
            return code
        if pid == child:
            code = -os.WTERMSIG(status) if os.WIFSIGNALED(status) else os.WEXITSTATUS(status)


def end_descendants() -> None:
    """End what the server left behind: kernels, terminals and all that they started. Asks first, then kills."""
    grace_over = time.monotonic() + GRACE_SECONDS
    asked: set[int] = set()
    while time.monotonic() < grace_over + FORCE_SECONDS:
        reap()
        left = descendants(os.getpid())
        if not left:
            return
        if time.monotonic() > grace_over:
            send(left, signal.SIGKILL)
        else:
            send(left - asked, signal.SIGTERM)
            asked |= left
        time.sleep(0.02)
    say("some processes of this session cannot be ended")


def send(pids: set[int], number: signal.Signals) -> None:
    """Send a signal to each of these processes that is still there and may be signalled."""
    for pid in pids:
        try:
            os.kill(pid, number)
        except OSError:
            continue


def descendants(root: int) -> set[int]:
    """The children of a process, their children, and so on.

    Dead ones count until they are reaped: a process whose first thread has ended looks dead while its others run.
    """
    children: dict[int, list[int]] = {}
    for name in os.listdir("/proc"):
        if name.isdigit():
            fields = stat_fields(name)
            if fields:
                children.setdefault(int(fields[1]), []).append(int(name))
    found: set[int] = set()
    ahead = [root]
    while ahead:
        new = [pid for pid in children.get(ahead.pop(), []) if pid not in found]
        found.update(new)
        ahead.extend(new)
    return found


def stat_fields(pid: str) -> list[str]:
    """The fields of /proc/PID/stat from the state on; empty when the process is gone.

    In proc(5) these are the fields from 3: index 0 is the state, 1 the parent, 19 the start in ticks after boot.
    """
    try:
        with open(f"/proc/{pid}/stat", errors="replace") as file:
            # The name comes before them, in brackets, and may itself contain brackets and spaces.
            return file.read().rpartition(")")[2].split()
    except OSError:
        return []


def prctl(option: int, value: int) -> None:
    """Ask the kernel for an attribute of this process; without Linux, or without ctypes, go on without it."""
    try:
        import ctypes

        ctypes.CDLL(None).prctl(option, ctypes.c_ulong(value), ctypes.c_ulong(0), ctypes.c_ulong(0), ctypes.c_ulong(0))
    except (ImportError, OSError, AttributeError):
        return


# --- the child ----------------------------------------------------------------------------------------------------


def die_with(parent: int) -> None:
    """Make this process end when its parent dies without a word, and let signals in again."""
    prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, WATCHED)
    if os.getppid() != parent:
        sys.exit(128 + signal.SIGTERM)


def serve(folder: str, options: argparse.Namespace, server_arguments: list[str]) -> int:
    """Bind, exchange, say where, and be the single-user server. Returns an exit code."""
    secret_path = os.path.join(folder, "secret")
    try:
        listener = listen(options.host, options.ports)
        with open(secret_path) as file:
            secret = file.read().strip()
    except OSError as error:
        say(f"cannot begin: {error.strerror}")
        return USAGE
    environment = exchange(options.exchange_url, os.path.basename(folder), secret, options.patience)
    if environment is None:
        say(f"the hub did not answer as it should for {options.patience:g} seconds")
        return NO_ANSWER
    os.unlink(secret_path)
    port = listener.getsockname()[1]
    os.environ.update(environment)
    address = f"[{options.host}]" if ":" in options.host else options.host
    os.environ["JUPYTERHUB_SERVICE_URL"] = f"http://{address}:{port}{environment['JUPYTERHUB_SERVICE_PREFIX']}"
    node = options.node or options.host
    write_json(folder, "session.json", {"node": node, "port": port, "proof": address_proof(secret, node, port)})
    return run_server(listener, port, server_arguments)


def listen(host: str, ports: range | None = None) -> socket.socket:
    """A socket that listens at a free port, of `ports` if they are given; raises OSError if there is none.

    Without SO_REUSEADDR: with it, and before it listens, another process could bind the same port. Kernels do not
    inherit it (PEP 446). In no order: sessions that start at the same moment would all try the first.
    """
    import errno
    import random
    import socket

    family, kind, protocol, _, address = socket.getaddrinfo(host, 0, type=socket.SOCK_STREAM)[0]
    for port in [0] if ports is None else random.sample(ports, len(ports)):
        listener = socket.socket(family, kind, protocol)
        try:
            listener.bind((address[0], port, *address[2:]))
            listener.listen(128)
        except OSError as error:
            listener.close()
            if error.errno != errno.EADDRINUSE:
                raise
        else:
            listener.setblocking(False)
            return listener
    raise OSError(errno.EADDRINUSE, "no port of the range is free")


def address_proof(secret: str, host: str, port: int) -> str:
    """Shows that this address was written by who had the secret. The hub, which keeps only its hash, can check it."""
    import hashlib
    import hmac

    key = hashlib.sha256(secret.encode()).hexdigest()
    return hmac.new(key.encode(), f"{host}:{port}".encode(), hashlib.sha256).hexdigest()


def exchange(url: str, attempt: str, secret: str, patience_seconds: float) -> dict[str, str] | None:
    """Exchange the secret for the environment of the session; None when the patience is over.

    Two steps, so that a lost answer costs nothing: `exchange` hands out the environment, `confirm` says that it
    arrived. The nonce tells the hub that the one who asks again is the one who asked before. A refusal is tried again
    too: a hub that has just come back does not know this attempt yet.
    """
    import secrets

    opener = http_client()
    nonce = secrets.token_hex(16)
    environment: dict[str, str] | None = None
    deadline = time.monotonic() + patience_seconds
    pause = FIRST_PAUSE_SECONDS
    said = ""
    while True:
        step = "exchange" if environment is None else "confirm"
        result, body = post(opener, url, {"attempt": attempt, "secret": secret, "nonce": nonce, "step": step})
        if step == "confirm" and result == "HTTP 204":
            return environment
        if step == "confirm" and result == "HTTP 409":  # Overtaken: what it handed out is not valid any more.
            environment = None
        if step == "exchange" and result == "HTTP 200":
            environment = environment_in(body)
            if environment is not None:
                pause = FIRST_PAUSE_SECONDS
                continue
            result = "an answer that makes no sense"
        if said != f"{step}: {result}":
            said = f"{step}: {result}"
            say(f"{said}; trying again")
        if time.monotonic() + pause > deadline:
            return None
        time.sleep(pause)
        pause = min(2 * pause, LONGEST_PAUSE_SECONDS)


def http_client() -> OpenerDirector:
    """A client that speaks to the address that it is given and to no other: no proxies, no redirects."""
    import urllib.request

    class Stay(urllib.request.HTTPRedirectHandler):
        def redirect_request(self, *arguments: object) -> None:
            """Follow nothing: the redirect itself is the answer."""

    return urllib.request.build_opener(urllib.request.ProxyHandler({}), Stay())


def post(opener: OpenerDirector, url: str, message: dict[str, str]) -> tuple[str, bytes]:
    """Send one message. Returns what came of it, in words without secrets, and the body of the answer."""
    import http.client
    import urllib.error
    import urllib.request

    request = urllib.request.Request(url, json.dumps(message).encode(), {"Content-Type": "application/json"})
    try:
        with opener.open(request, timeout=REQUEST_SECONDS) as answer:
            return f"HTTP {answer.status}", answer.read(LARGEST_ANSWER_BYTES)
    except urllib.error.HTTPError as error:
        error.close()
        return f"HTTP {error.code}", b""
    except (OSError, http.client.HTTPException) as error:
        reason = getattr(error, "reason", error)
        return f"no answer ({type(reason).__name__})", b""


def environment_in(body: bytes) -> dict[str, str] | None:
    """The environment that the hub handed out; None when the answer is not one."""
    try:
        environment = json.loads(body)["env"]
    except (ValueError, KeyError, TypeError):
        return None
    if not isinstance(environment, dict) or "JUPYTERHUB_SERVICE_PREFIX" not in environment:
        return None
    return environment if all(isinstance(value, str) for value in environment.values()) else None


def run_server(listener: socket.socket, port: int, arguments: list[str]) -> int:
    """Be the single-user server, on the socket that was kept. Returns its exit code."""
    import importlib

    try:
        server: Any = importlib.import_module("jupyter_server.serverapp").ServerApp
    except ImportError:
        server = None
    if not (hasattr(server, "_find_http_port") and hasattr(server, "_bind_http_server_tcp")):
        say("this environment cannot serve on a socket that is open already: it needs jupyter_server 2 (seen: 2.21)")
        return UNSUPPORTED
    serve_on(server, listener, port)
    compress_text(server)
    sys.argv = ["jupyterhub-singleuser", *arguments]
    # Only now: it reads the environment when it is imported.
    code = importlib.import_module("jupyterhub.singleuser").main()
    return code if isinstance(code, int) else 0


def serve_on(server: Any, listener: socket.socket, port: int) -> None:
    """Make the server class use a socket that listens already, instead of looking for a port of its own."""

    def find_http_port(self: Any) -> None:
        self.port = port

    def bind_http_server_tcp(self: Any) -> bool:
        self.http_server.add_sockets([listener])
        return True

    server._find_http_port = find_http_port
    server._bind_http_server_tcp = bind_http_server_tcp


def compress_text(server: Any) -> None:
    """Make the server answer with gzip where that helps; JupyterLab's scripts are some megabytes.

    Not by the option `ServerApp.tornado_settings`: from the command line it would replace what a person, or the
    image, has set under that name in a configuration file. Added here, all of that stays, even a `False`.
    """
    original = getattr(server, "init_webapp", None)
    if original is None:
        return

    def init_webapp(self: Any) -> None:
        self.tornado_settings.setdefault("compress_response", True)
        original(self)

    server.init_webapp = init_webapp


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
