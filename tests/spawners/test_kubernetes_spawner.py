"""What we override of KubeSpawner, and what we use of it: an upgrade that changes one of these names fails here."""

import ast
import inspect
import textwrap
from types import SimpleNamespace
from typing import Any

import pytest
from kubernetes_asyncio.config import ConfigException
from kubespawner import KubeSpawner
from traitlets import HasTraits
from traitlets.config import Config

from federation.clock import system_clock
from federation.database import Database
from federation.settings import Environment, Flavour, KubernetesSite
from spawners.backends.child import Child
from spawners.backends.cluster import Cluster
from spawners.backends.kubernetes import KubernetesSpawner
from spawners.backends.kubernetes_arguments import pod_arguments
from spawners.backends.kubernetes_pods import Pods
from spawners.homes import Homes
from spawners.sessions import Server

ATTEMPT, PERSON = "0199a1b2-0000-7000-8000-00000000000a", "0199a1b2-0000-7000-8000-00000000000b"
SESSION: Any = SimpleNamespace(
    attempt=ATTEMPT,
    person_id=PERSON,
    site="cloud",
    flavour="gpu",
    environment="python",
    server=Server("hub", "ana", ""),
)


def site(**changes: Any) -> KubernetesSite:
    given = {"kind": "kubernetes", "title": "The cloud", "flavours": ["gpu"], "namespace": "notebooks"}
    return KubernetesSite.model_validate({**given, **changes})


def arguments(flavour: dict[str, Any] | None = None, **changes: Any) -> dict[str, Any]:
    return dict(
        pod_arguments(
            SESSION,
            pods=Pods(Cluster("notebooks"), "hub"),
            site=site(**changes),
            flavour=Flavour.model_validate({"cpu": 8, "memory_gib": 32, "gpu": 1, "weight": 20} | (flavour or {})),
            environment=Environment.model_validate({"title": "Python", "kubernetes": {"image": "example.org/nb:1"}}),
            organisation=lambda: "vo.example.org",
            homes=Homes(Database("sqlite://"), clock=system_clock),
            home_gib=lambda: 5,
        )
    )


def spawner(**changes: Any) -> KubernetesSpawner:
    return KubernetesSpawner(user=SimpleNamespace(name="ana", id=1), **arguments(**changes))


def test_nothing_else_is_overridden() -> None:
    ours = {name for name in vars(KubernetesSpawner) if hasattr(KubeSpawner, name)}
    by_python = {"__module__", "__doc__", "__annotations__", "__static_attributes__", "__firstlineno__"}
    by_traitlets = {"_all_trait_default_generators", "_descriptors", "_instance_inits", "_static_immutable_initial_values",
                    "_trait_default_generators", "_traits"}  # fmt: skip
    assert ours - by_python - by_traitlets == {"__init__", "start", "stop", "poll"}
    assert not {name for name in vars(Child) if name in dir(KubeSpawner)} - set(dir(HasTraits))


def test_our_constructor_sets_all_that_kubespawners_sets() -> None:
    source = ast.parse(textwrap.dedent(inspect.getsource(KubeSpawner.__init__)))
    theirs = {
        node.attr
        for node in ast.walk(source)
        if isinstance(node, ast.Attribute)
        and isinstance(node.ctx, ast.Store)
        and getattr(node.value, "id", "") == "self"
    }
    for_its_own_start_and_poll = {"api", "_pvc_exists", "_start_future"}
    given_as_arguments = {"namespace", "port", "working_dir"}
    of_its_tests = {"user", "hub"}
    made = spawner()
    ours = {"pod_name", "dns_name", "secret_name", "pvc_name"}
    assert theirs == ours | for_its_own_start_and_poll | given_as_arguments | of_its_tests
    assert all(getattr(made, name) for name in ours | given_as_arguments - {"namespace"})


def test_our_constructor_contacts_nothing_and_needs_no_configuration_of_the_process() -> None:
    """Theirs asks for a kubeconfig of the whole process, and for a running loop."""
    with pytest.raises((ConfigException, RuntimeError)):
        KubeSpawner(user=SimpleNamespace(name="ana", id=1))
    assert spawner().namespace == "notebooks"


@pytest.mark.parametrize("name", ["start", "stop", "poll"])
def test_what_jupyterhub_calls_has_the_same_parameters(name) -> None:
    ours, theirs = (
        inspect.signature(getattr(one, name)).parameters.values() for one in (KubernetesSpawner, KubeSpawner)
    )
    assert [(p.name, p.kind, p.default) for p in ours] == [(p.name, p.kind, p.default) for p in theirs]


def test_pod_and_volume_are_named_by_stored_ids() -> None:
    made = spawner(homes={"size_gib": 5, "access_mode": "ReadWriteMany", "storage_class": "shared"})
    assert (made.pod_name, made.pvc_name) == (f"nb-{ATTEMPT}", f"home-{PERSON}")
    claim = made.get_pvc_manifest()
    assert (claim.metadata.name, claim.spec.resources.requests) == (f"home-{PERSON}", {"storage": "5Gi"})
    assert (claim.spec.access_modes, claim.spec.storage_class_name) == (["ReadWriteMany"], "shared")


def test_a_configuration_for_all_kubespawners_cannot_change_what_matters() -> None:
    stray = Config()
    stray.KubeSpawner.image = "example.org/other:1"
    stray.KubeSpawner.privileged = True
    stray.KubeSpawner.automount_service_account_token = True
    stray.KubeSpawner.extra_resource_limits = {"nvidia.com/gpu": "8"}
    stray.KubeSpawner.tolerations = [{"key": "notebooks", "operator": "Exists"}]
    made = KubernetesSpawner(user=SimpleNamespace(name="ana", id=1), config=stray, **arguments())
    assert (made.image, made.privileged, made.automount_service_account_token) == ("example.org/nb:1", False, False)
    assert made.extra_resource_limits == {"nvidia.com/gpu": "1"}
    assert made.tolerations == [{"key": "notebooks", "operator": "Exists"}], "what is not ours can be set"


def test_a_flavour_without_gpu_asks_for_none() -> None:
    assert arguments({"gpu": 0})["extra_resource_limits"] == {}


def test_without_homes_files_go_with_the_session() -> None:
    home = arguments()["volumes"][0]
    assert home == {"name": "home", "emptyDir": {}}
    assert arguments()["storage_capacity"] is None
