"""Homes on a real cluster: a volume is made, looked at without being written to, and removed by who may and nobody else."""

from spawners.backends.cluster import Cluster
from spawners.backends.kubernetes_arguments import volume_name
from spawners.backends.kubernetes_homes import Volumes
from tests.kubernetes.place import Namespace
from tests.kubernetes.test_session import started
from tests.services.test_session import lines_of, wait_for
from tests.support.service import Service

MIB = 2**20


def test_a_home_from_its_first_session_to_its_end(service: Service, namespace: Namespace) -> None:
    person, kernel = started(service, "site-operator")
    kernel.run(f"open('large', 'wb').write(bytes({300 * MIB})); print('written')")
    kernel.close()
    assert person.stop().status_code == 200
    wait_for(lambda: lines_of(service, person.user_name)[0].state == "settled")

    listed = service.nbfed("home", "list", "--person", person.user_name).stdout
    name = listed.splitlines()[1].split()[2]
    used = service.nbfed("home", "usage", person.user_name, "here").stdout
    size, _, rest = used.partition(" of ")
    assert 0.29 <= float(size) < 0.35
    assert rest.startswith("1 GiB, ")
    assert not [pod for pod in namespace.all("pods") if "usage" in pod["metadata"]["name"]], "it is gone afterwards"

    words = ("home", "remove", person.user_name, "here", "--reason", "asked for it")
    assert "still to be kept" in service.nbfed(*words, check=False).stderr
    assert "Name an account that may" in service.nbfed(*words, "--early", check=False).stderr
    assert namespace.api("GET", f"persistentvolumeclaims/{name}").is_success, "hub and worker may remove none"
    service.nbfed(*words, "--kubeconfig", str(namespace.place.kubeconfig))
    wait_for(lambda: namespace.api("GET", f"persistentvolumeclaims/{name}").status_code == 404, 120)
    assert service.nbfed("home", "list", "--person", person.user_name).stdout == "No homes.\n"


def test_a_volume_that_its_storage_does_not_let_grow_stays_as_it_is(namespace: Namespace) -> None:
    cluster = Cluster(namespace.name, kubeconfig=namespace.kubeconfig)
    volumes, name = Volumes(cluster), volume_name("nobody")
    claim = {
        "metadata": {"name": name},
        "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}},
                 "storageClassName": "of-nobody"},
    }  # fmt: skip
    assert volumes.ensure(name, claim, 1) == 1
    assert volumes.ensure(name, claim, 1) == 1, "twice is once"
    assert volumes.ensure(name, claim, 5) == 1
    cluster.close()
    namespace.api("DELETE", f"persistentvolumeclaims/{name}")
