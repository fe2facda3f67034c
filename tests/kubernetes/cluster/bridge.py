"""The network of one cluster: a bridge with an address of its own. Pods reach that address and each other, no further.

The bridge is there before its address is used: until then the address is not of this machine, and packets to it would
leave by another way.
"""

import subprocess

from tests.kubernetes.cluster.programs import ClusterMissing

__all__ = ["Bridge"]

_MOST = 16


class Bridge:
    """A bridge that nobody else has: making one under a taken name fails, so several clusters fit on one machine."""

    def __init__(self) -> None:
        self.number = self._claim()
        self.name = _name(self.number)
        self.subnet = f"10.244.{self.number}.0/24"
        self.address = f"10.244.{self.number}.1"
        try:
            _ip("address", "add", f"{self.address}/24", "dev", self.name)
            _ip("link", "set", self.name, "up")
        except BaseException:
            self.remove()
            raise

    def _claim(self) -> int:
        for number in range(_MOST):
            done = _ip("link", "add", _name(number), "type", "bridge", check=False)
            if done.returncode == 0:
                return number
            if "File exists" not in done.stderr:
                raise ClusterMissing(f"no bridge can be made: {done.stderr.strip()}")
        raise ClusterMissing(f"{_MOST} bridges of earlier clusters are there; `ip link delete nbfed0` removes one")

    def plugin(self, addresses_folder: str) -> dict[str, object]:
        """The configuration of the CNI for it. No gateway and no route: what a pod may reach is on the bridge."""
        ipam = {
            "type": "host-local",
            "dataDir": addresses_folder,
            "ranges": [[{"subnet": self.subnet, "rangeStart": f"10.244.{self.number}.10"}]],
        }
        bridge = {"type": "bridge", "bridge": self.name, "isGateway": False, "ipMasq": False, "ipam": ipam}
        return {"cniVersion": "0.4.0", "name": self.name, "plugins": [bridge]}

    def remove(self) -> None:
        _ip("link", "delete", self.name, check=False)


def _name(number: int) -> str:
    return f"nbfed{number}"


def _ip(*words: str, check: bool = True) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["ip", *words], check=check, capture_output=True, text=True, timeout=10)
