"""`nbfed up`: the whole service in one terminal, kept running, and ended in order by Ctrl-C.

What it promises:

- One run for each state folder; what a killed run left behind is ended first.
- Nothing is started while a port is busy.
- A child that ends is started again, however often, and each time the terminal says so in one line.
- After Ctrl-C, SIGTERM or a closed terminal nothing is left: children end in reverse order, then
  `on_stopped` is called.
"""

import fcntl
import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path

import httpx
from supervisor.states import ProcessStates

from federation.trust import trusted
from hub_config.children import Child, children
from hub_config.ports import complaints
from hub_config.running import Running
from hub_config.settings import Settings
from hub_config.supervisor_engine import Engine, Process

__all__ = ["Child", "children", "up"]

LEFTOVER_GRACE_SECONDS = 10.0
GROUP_GRACE_SECONDS = 3.0
SLOW_START_SECONDS = 60.0
TAIL_LINES = 5
ATTEMPTS_TO_TELL = 3

Say = Callable[[str], None]

_print = partial(print, flush=True)


def up(
    settings: Settings,
    *,
    on_stopped: Callable[[], None],
    say: Say = _print,
    banner: Callable[[], str] | None = None,
    children_of: Callable[[Settings], list[Child]] = children,
) -> int:
    """Run everything until an end signal comes. Call it in the main thread.

    Parameters
    ----------
    settings
        What to run and where to keep it.
    on_stopped
        Called once after all children have ended, in the main thread. If the terminal was closed, standard output is
        gone by then: what it prints must not make it fail.
    say
        Takes a text for the terminal; called from more than one thread, never at the same time.
    banner
        Makes the text that is said once the service answers.
    children_of
        What to run, for tests.

    Returns
    -------
    int
        An exit code: 0 after an end signal, 1 if nothing could be started (and `say` was told why).
    """
    terminal = _Terminal(say)
    with _sole_run(settings.state.lock) as other:
        if other is not None:
            terminal.text(
                f"Another `nbfed up` (process {other}) runs with the state folder {settings.state.root}. "
                f"Stop it with Ctrl-C in its terminal or with `kill {other}`, or choose another folder with NBFED_HOME."
            )
            return 1
        running = Running(settings.state.lock.with_name("nbfed-up.processes"))
        running.end_all(
            LEFTOVER_GRACE_SECONDS, lambda names: terminal.line(f"Ending what an earlier run left behind: {names}.")
        )
        found = complaints(settings)
        for complaint in found:
            terminal.text(complaint)
        if found:
            return 1
        _run(settings, children_of(settings), running, terminal, banner, on_stopped)
    return 0


class _Terminal:
    """Whole lines from any thread; never fails, since the service must end in order even if nobody reads."""

    def __init__(self, say: Say) -> None:
        self._say = say
        self._lock = threading.Lock()

    def text(self, text: str) -> None:
        with self._lock, suppress(OSError, ValueError):
            self._say(text)

    def line(self, text: str) -> None:
        self.text(f"{time.strftime('%H:%M:%S')} {text}")


@contextmanager
def _sole_run(lock: Path) -> Iterator[str | None]:
    """Hold the lock; gives the process id of the one that holds it already, else None."""
    descriptor = os.open(lock, os.O_RDWR | os.O_CREAT, 0o600)
    with os.fdopen(descriptor, "r+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            other = None
        except BlockingIOError:
            other = file.read().strip()
        if other is None:
            file.truncate(0)
            file.write(f"{os.getpid()}\n")
            file.flush()
        yield other


def _run(
    settings: Settings,
    children: list[Child],
    running: Running,
    terminal: _Terminal,
    banner: Callable[[], str] | None,
    on_stopped: Callable[[], None],
) -> None:
    engine = Engine(settings, children, running)
    ended = threading.Event()
    telling = _Telling(engine, terminal)
    ready = threading.Thread(target=_tell_when_ready, args=(settings, terminal, banner, ended), daemon=True)
    terminal.line(f"Starting {', '.join(child.name for child in children)}. Logs: {settings.state.logs}")
    ready.start()
    try:
        try:
            engine.run(telling.hear, telling.end_signal)
        finally:
            ended.set()
            # Also what a child left in its process group, and everything if the library itself failed.
            running.end_all(GROUP_GRACE_SECONDS)
            ready.join(timeout=5)
        with _answering(engine):
            on_stopped()
    finally:
        engine.close()
    terminal.line(f"Stopped. Everything is kept in {settings.state.root}.")


class _Telling:
    """Puts what happens to the children into words."""

    def __init__(self, engine: Engine, terminal: _Terminal) -> None:
        self._engine = engine
        self._terminal = terminal
        self._said_stopping = False
        self._troubled: set[str] = set()

    def hear(self, process: Process, state: int) -> None:
        """A child is in a new state."""
        if self._engine.is_stopping:
            return
        if state == ProcessStates.EXITED or (state == ProcessStates.BACKOFF and process.attempts < ATTEMPTS_TO_TELL):
            self._terminal.line(f"{process.name} ended ({process.ending}); starting it again. Log: {process.log}")
        elif state == ProcessStates.BACKOFF and _is_worth_telling(process.attempts):
            self._troubled.add(process.name)
            self._terminal.line(
                f"{process.name} does not stay up: it ended {process.attempts} times in a row ({process.ending}). "
                f"Trying again in {process.wait_seconds} s, and so on. The last lines of {process.log}:"
                + "".join(f"\n    {line}" for line in _tail(process.log))
            )
        elif state == ProcessStates.RUNNING and process.name in self._troubled:
            self._troubled.remove(process.name)
            self._terminal.line(f"{process.name} runs again.")

    def end_signal(self) -> None:
        """Ctrl-C or another end signal came, maybe not for the first time."""
        self._terminal.line("Still stopping; one moment." if self._said_stopping else "Stopping…")
        self._said_stopping = True


def _is_worth_telling(attempts: int) -> bool:
    """At 3, 6, 12, 24 … attempts: often enough to be seen, too seldom to fill the screen."""
    multiple, rest = divmod(attempts, ATTEMPTS_TO_TELL)
    return rest == 0 and multiple & (multiple - 1) == 0


def _tail(log: Path) -> list[str]:
    try:
        with log.open("rb") as file:
            file.seek(max(0, log.stat().st_size - 8192))
            return file.read().decode(errors="replace").splitlines()[-TAIL_LINES:]
    except OSError as error:
        return [f"(cannot be read: {error.strerror})"]


def _tell_when_ready(
    settings: Settings, terminal: _Terminal, banner: Callable[[], str] | None, ended: threading.Event
) -> None:
    start, told = time.monotonic(), False
    address = f"{settings.base_url}hub/api"
    while not _answers(address):
        if ended.wait(0.3):
            return
        if not told and time.monotonic() - start > SLOW_START_SECONDS:
            told = True
            terminal.line(
                f"{address} does not answer after {SLOW_START_SECONDS:.0f} s. Still trying. "
                f"Look into hub.log and proxy.log in {settings.state.logs}"
            )
    if not ended.is_set():
        terminal.line(f"Ready after {time.monotonic() - start:.1f} s.")
        if banner:
            terminal.text(banner())


def _answers(address: str) -> bool:
    try:
        # A proxy that the environment names knows nothing of this machine's loopback.
        return httpx.get(address, timeout=2, trust_env=False, verify=trusted()).status_code == httpx.codes.OK
    except httpx.HTTPError:
        return False


@contextmanager
def _answering(engine: Engine) -> Iterator[None]:
    """Answer Ctrl-C while the main thread is busy; the handlers are still ours, so it breaks nothing."""
    done = threading.Event()

    def answer() -> None:
        while not done.wait(0.2):
            engine.drain_signals()

    thread = threading.Thread(target=answer, daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()
