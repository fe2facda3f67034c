"""A batch site with real accounting: slurmdbd on a MariaDB of its own, which only loopback reaches."""

import contextlib
import os
import pwd
import secrets
import shutil
import signal
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

from tests.support.service import free_ports
from tests.support.slurm import SITES, Record, SlurmSite, make_accounts, until
from tests.support.slurm import why_not as why_no_slurm

__all__ = ["AccountedSite", "running_accounted_site", "why_not"]

_ACCOUNT = "slurm"
"""Who runs MariaDB, which refuses root; Debian's packages of Slurm make this account."""
_TABLES = Path("/usr/share/mysql")
_RECORDS = """\
AccountingStorageType=accounting_storage/slurmdbd
AccountingStorageHost=127.0.0.1
AccountingStoragePort={port}
AccountingStoragePass={{folder}}/munge.socket
JobCompType=jobcomp/none"""
_DAEMON = """\
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket
DbdHost=localhost
DbdAddr=127.0.0.1
DbdPort={port}
SlurmUser=root
StorageType=accounting_storage/mysql
StorageHost=127.0.0.1
StoragePort={database_port}
StorageUser=slurm
StoragePass={password}
StorageLoc=slurm_accounting
LogFile={folder}/slurmdbd.log
PidFile={folder}/slurmdbd.pid
"""


def why_not() -> str | None:
    """Why no such site can be run here; None if one can."""
    missing = [program for program in ("slurmdbd", "mariadbd") if shutil.which(program) is None]
    if missing:
        return f"Slurm's accounting is not installed ({', '.join(missing)}): `make setup-test` as root on Debian"
    return why_no_slurm()


class AccountedSite(SlurmSite):
    """A cluster whose accounting has every job, also long after the controller forgot it."""

    sacct = ("sacct", "--allocations", "--duplicates")
    history = "accounting"

    def __init__(self, name: str, folder: Path, accounts: tuple[str, ...]) -> None:
        self._port, self._database_port = free_ports(2)
        super().__init__(name, folder, accounts, job_age_seconds=3, records=_RECORDS.format(port=self._port))
        self._password = secrets.token_urlsafe(12)
        settings = folder / "slurmdbd.conf"
        settings.touch(mode=0o600)
        settings.write_text(
            _DAEMON.format(
                folder=folder, port=self._port, database_port=self._database_port, password=self._password
            )
        )  # fmt: skip

    def start(self) -> None:
        self._start_database()
        self.start_munge()
        self.start_accounting()
        self.run("sacctmgr", "--immediate", "add", "cluster", self.name)
        super().start()

    def start_munge(self) -> None:
        if "munged" not in self._processes:
            super().start_munge()

    def start_accounting(self) -> None:
        self.run_daemon("slurmdbd", "-D")
        until(lambda: _answers(self._port), what=f"slurmdbd\n{self.logs()}")

    def stop_accounting(self) -> None:
        self.stop_daemon("slurmdbd", signal.SIGKILL)

    def every_record(self) -> dict[str, list[Record]]:
        """All runs of today and yesterday that are on record, by the name of their job."""
        form = "--format=jobname%80,jobid,state,start,end,nodelist"
        words = [*self.sacct, "--allusers", "--starttime=now-1days", "--noheader", "--parsable2", form]
        found: dict[str, list[Record]] = {}
        for line in self.run("env", "SLURM_TIME_FORMAT=%s", *words).splitlines():
            name, *fields = line.split("|")
            found.setdefault(name, []).append(Record.of(fields))
        return found

    def _start_database(self) -> None:
        data = self.folder / "database"
        data.mkdir(mode=0o700)
        owner = pwd.getpwnam(_ACCOUNT)
        os.chown(data, owner.pw_uid, owner.pw_gid)
        common = ["--no-defaults", f"--datadir={data}"]
        tables = [(_TABLES / f"mysql_system_tables{part}.sql").read_text() for part in ("", "_data")]
        # As mariadb-install-db does, which is in a package that starts a server.
        made = "\n".join(["CREATE DATABASE mysql;", "USE mysql;", *tables])
        subprocess.run(
            ["mariadbd", *common, "--bootstrap"], input=made, text=True, check=True, capture_output=True,
            user=owner.pw_uid, group=owner.pw_gid, extra_groups=[],
        )  # fmt: skip
        first = self.folder / "first.sql"
        first.touch(mode=0o600)
        first.write_text(
            f"CREATE USER 'slurm'@'127.0.0.1' IDENTIFIED BY '{self._password}';\n"
            "GRANT ALL ON slurm_accounting.* TO 'slurm'@'127.0.0.1';\n"
        )
        os.chown(first, owner.pw_uid, owner.pw_gid)
        self.run_daemon(
            "mariadbd", *common, "--bind-address=127.0.0.1", f"--port={self._database_port}", "--skip-name-resolve",
            f"--socket={data}/socket", f"--pid-file={data}/pid", f"--init-file={first}",
            "--innodb-buffer-pool-size=32M", account=_ACCOUNT,
        )  # fmt: skip
        until(lambda: _answers(self._database_port), what=f"MariaDB\n{self.logs()}")


@contextlib.contextmanager
def running_accounted_site(name: str = "sierra", accounts: tuple[str, ...] = SITES["costa"]) -> Iterator[AccountedSite]:
    """Such a site, for as long as the block lasts; `sierra` has the accounts of `costa`."""
    folder = Path(tempfile.mkdtemp(prefix="nbfed-batch-", dir="/var/tmp"))
    folder.chmod(0o755)
    make_accounts(accounts)
    site = AccountedSite(name, folder / name, accounts)
    try:
        site.start()
        yield site
    finally:
        site.stop()
        shutil.rmtree(folder, ignore_errors=True)


def _answers(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
    except OSError:
        return False
    return True
