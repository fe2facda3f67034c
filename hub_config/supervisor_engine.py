"""The kept library `supervisor`, used inside our process: configured by objects, silent, without servers.

What differs from `supervisord`, and why:

- Nothing is configured by file: command lines and environments are objects, so no secret is written down.
- A child gets its own environment and nothing of ours. It records itself before it turns into its program.
- It never gives up on a child: the waits between attempts grow from 1 to 30 seconds and stay there.
- SIGHUP (the terminal was closed) ends it; it does not reload. Under `nohup` it stays ignored.
"""

import io
import os
import shlex
import signal
import sys
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from types import FrameType
from typing import Any

from supervisor import events
from supervisor.datatypes import RestartUnconditionally
from supervisor.medusa.asyncore_25 import ExitNow
from supervisor.options import ProcessConfig, ProcessGroupConfig, ServerOptions
from supervisor.process import Subprocess
from supervisor.states import ProcessStates, SupervisorStates
from supervisor.supervisord import Supervisor

from hub_config.children import Child
from hub_config.running import Running
from hub_config.settings import Settings

__all__ = ["Engine", "Process"]

LOG_BYTES = 10 * 1024 * 1024
LOG_BACKUPS = 3
LONGEST_WAIT_SECONDS = 30
POLL_SECONDS = 0.2
END_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT, signal.SIGHUP)

Handler = Callable[[int, FrameType | None], Any] | int | None


class Process(Subprocess):  # type: ignore[misc]  # the library has no types
    """A child as the library sees it, which also remembers how it last ended."""

    wait_status: int | None = None

    @property
    def name(self) -> str:
        return str(self.config.name)

    @property
    def log(self) -> Path:
        return Path(self.config.stdout_logfile)

    @property
    def attempts(self) -> int:
        """How often in a row it ended before it had settled."""
        return int(self.backoff)

    @property
    def wait_seconds(self) -> int:
        """How long it waits until the next attempt."""
        return min(self.attempts, LONGEST_WAIT_SECONDS)

    @property
    def ending(self) -> str:
        """How it last ended, in words."""
        if self.wait_status is None:
            return str(self.spawnerr)
        code = os.waitstatus_to_exitcode(self.wait_status)
        return f"killed by signal {-code}" if code < 0 else f"exit code {code}"

    def spawn(self) -> int | None:
        self.wait_status = None
        pid: int | None = super().spawn()
        return pid

    def finish(self, pid: int, sts: int) -> None:
        self.wait_status = sts
        super().finish(pid, sts)

    def change_state(self, new_state: int, expected: bool = True) -> None:
        super().change_state(new_state, expected)
        if new_state == ProcessStates.BACKOFF:
            self.delay = time.time() + self.wait_seconds


class _Config(ProcessConfig):  # type: ignore[misc]  # the library has no types
    def make_process(self, group: Any = None) -> Process:
        process = Process(self)
        process.group = group
        return process


class _Options(ServerOptions):  # type: ignore[misc]  # the library has no types
    """The library's options and its door to the operating system."""

    test = False

    def __init__(self, environments: dict[str, dict[str, str]], running: Running, log: Path) -> None:
        super().__init__()
        self._environments = environments
        self._running = running
        self._handlers_before: dict[signal.Signals, Handler] = {}
        self.on_end_signal: Callable[[], None] = lambda: None
        self.configfile = io.StringIO("[supervisord]\n")
        arguments = ["--nodaemon", "--silent", "--nocleanup", f"--logfile={log}"]
        arguments += [f"--logfile_maxbytes={LOG_BYTES}", f"--logfile_backups={LOG_BACKUPS}"]
        self.realize(arguments, doc="")
        self.make_logger()
        # A signal does not wake the library's loop (PEP 475), so up to a second would pass before it is heard.
        wait = self.poller.poll
        self.poller.poll = lambda timeout: wait(min(timeout, POLL_SECONDS))

    def write_pidfile(self) -> None:
        """Nothing: the lock of the state folder carries our process id."""

    def setsignals(self) -> None:
        for number in (*END_SIGNALS, signal.SIGCHLD, signal.SIGUSR2):
            self._handlers_before[number] = signal.getsignal(number)
        super().setsignals()
        if self._handlers_before[signal.SIGHUP] == signal.SIG_IGN:
            signal.signal(signal.SIGHUP, signal.SIG_IGN)

    def restore_signals(self) -> None:
        """Put back the signal handlers that were there before."""
        for number, handler in self._handlers_before.items():
            signal.signal(number, signal.SIG_DFL if handler is None else handler)
        self._handlers_before.clear()

    def get_signal(self) -> int | None:
        number: int | None = super().get_signal()
        if number in END_SIGNALS:
            self.on_end_signal()
            return signal.SIGTERM
        return number

    def execve(self, filename: str, argv: list[str], env: dict[str, str]) -> None:
        # In the child, after the fork. `env` is ours plus what the library adds; only the name is of use.
        name = env["SUPERVISOR_PROCESS_NAME"]
        self._running.record_this_process(name)
        os.execve(filename, argv, self._environments[name])


class _Supervisor(Supervisor):  # type: ignore[misc]  # the library has no types
    def __init__(self, options: _Options, hear: Callable[[Any], None]) -> None:
        super().__init__(options)
        self._hear = hear

    def runforever(self) -> None:
        # Not before: the library clears all subscriptions when it begins.
        events.subscribe(events.ProcessStateEvent, self._hear)
        super().runforever()


class Engine:
    """Keeps children running until an end signal comes; needs the main thread, since signals arrive there.

    Parameters
    ----------
    settings
        Say where logs go and where children run.
    children
        What runs.
    running
        Where children record themselves.
    """

    def __init__(self, settings: Settings, children: Iterable[Child], running: Running) -> None:
        children = list(children)
        environments = {child.name: dict(child.environment) for child in children}
        self._options = _Options(environments, running, settings.state.logs / "supervisor.log")
        self._options.process_group_configs = [_group(self._options, child, settings) for child in children]

    @property
    def is_stopping(self) -> bool:
        """Whether an end signal was heard."""
        return bool(self._options.mood < SupervisorStates.RUNNING)

    def run(self, hear: Callable[[Process, int], None], on_end_signal: Callable[[], None]) -> None:
        """Start the children in order, keep them running, and end them in reverse order after an end signal.

        `hear` is told each process and its new state, `on_end_signal` each end signal; both run in the loop. The signal
        handlers stay in place afterwards: `drain_signals` and `close` are the caller's.
        """
        self._options.on_end_signal = on_end_signal
        supervisor = _Supervisor(self._options, lambda event: hear(event.process, event.process.state))
        try:
            # Not main(): that would raise our limits for good and complain about running as root.
            supervisor.run()
        except ExitNow:
            pass
        finally:
            events.clear()

    def drain_signals(self) -> None:
        """Tell `on_end_signal` of the end signals that came since the children have ended."""
        while self._options.get_signal():
            pass

    def close(self) -> None:
        """Put the signal handlers back and close the log."""
        self._options.restore_signals()
        self._options.close_logger()


def _group(options: _Options, child: Child, settings: Settings) -> Any:
    """A group of its own for each child: the library orders groups when it ends them, one after the other."""
    process = _Config(
        options,
        name=child.name,
        command=shlex.join(child.argv),
        directory=str(settings.state.root),
        # The databases lie in the state folder's root, which the account of local sessions may enter.
        umask=0o077,
        priority=child.priority,
        autostart=True,
        autorestart=RestartUnconditionally,
        startsecs=child.settle_seconds,
        startretries=sys.maxsize,
        stopsignal=signal.SIGTERM,
        stopwaitsecs=child.stop_seconds,
        stopasgroup=True,
        killasgroup=True,
        exitcodes=[0],
        uid=None,
        redirect_stderr=True,
        **_log("stdout", str(settings.state.logs / f"{child.name}.log")),
        **_log("stderr", None),
    )
    return ProcessGroupConfig(options, child.name, child.priority, [process])


def _log(channel: str, file: str | None) -> dict[str, Any]:
    values = {
        "logfile": file,
        "logfile_maxbytes": LOG_BYTES,
        "logfile_backups": LOG_BACKUPS,
        "capture_maxbytes": 0,
        "events_enabled": False,
        "syslog": False,
    }
    return {f"{channel}_{key}": value for key, value in values.items()}
