"""The cluster of the tests itself."""

from pathlib import Path

import psutil
import pytest

from tests.kubernetes.cluster.node import running_node
from tests.kubernetes.place import Place


def test_a_second_cluster_fits_on_the_machine_and_nothing_is_left_of_it(place: Place) -> None:
    if place.node is None:  # only where a developer says so; CI names no cluster, and tests ours
        pytest.skip("KUBECONFIG names a cluster, so none of our own is started")
    with running_node() as second:
        assert second.address != place.node.address
        assert second.api("GET", "/api/v1/nodes").json()["items"][0]["metadata"]["name"] == "node0"
    assert not second.folder.exists()
    assert not Path(f"/sys/class/net/{second.bridge.name}").exists()
    assert not list(Path("/sys/fs/cgroup").glob(f"*/{second.bridge.name}"))
    assert str(second.folder) not in Path("/proc/mounts").read_text()
    marks = [word for process in psutil.process_iter(["cmdline"]) for word in process.info["cmdline"] or ()]
    assert not any(str(second.folder) in word for word in marks)
    assert place.api("GET", "/readyz").status_code == 200, "the first one goes on"
