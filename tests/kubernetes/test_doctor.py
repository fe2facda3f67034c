"""`nbfed doctor` on a cluster whose network plugin enforces no policies, as ours: it says so."""

from hub_config import doctor
from spawners.backends.base import Life
from spawners.backends.cluster import Cluster
from spawners.backends.kubernetes_pods import Pods
from tests.kubernetes.conftest import Make
from tests.kubernetes.place import Namespace
from tests.services.test_session import wait_for

LISTENS = "import http.server as h; h.HTTPServer(('', 8888), h.SimpleHTTPRequestHandler).serve_forever()"


def test_a_session_that_can_be_reached_from_a_pod_that_may_not_is_a_warning(
    namespace: Namespace, pods: Pods, make: Make
) -> None:
    """The bridge of our cluster carries everything. What a plugin refuses is seen in tests/hub_config/test_doctor.py."""
    attempt = make(LISTENS)
    seen = wait_for(lambda: (one := pods.observe(attempt)).life is Life.RUNNING and one.host and one)
    wait_for(lambda: doctor.reaches(str(seen.host), int(seen.port or 0)))
    cluster = Cluster(namespace.name, kubeconfig=namespace.kubeconfig)
    check = doctor.network_policy("site here", cluster, doctor.reaches)
    cluster.close()
    assert check.state is doctor.State.WARN
    assert "not enforced" in check.text
