"""Our own chart, linted and rendered by Helm itself: what runs beside zero-to-jupyterhub, and with which rights."""

from typing import Any

import pytest
import yaml

from tests.helm_values.charts import CHART, COMBINATIONS, FOLDER, ROOT, merged
from tests.support.helm import Helm, helm_or_skip
from vetting.desk.app import HEALTH

pytestmark = [pytest.mark.kubernetes, pytest.mark.timeout(1800)]  # for who compiles Helm first

CHECK_IN = COMBINATIONS["check-in"]
REDCLARA = COMBINATIONS["redclara"]

each = pytest.mark.parametrize("files", COMBINATIONS.values(), ids=COMBINATIONS)


@pytest.fixture(scope="session")
def helm() -> Helm:
    return helm_or_skip()


def paths(files: tuple[str, ...]) -> list[str]:
    return [f"{FOLDER}/{file}" for file in files]


def rendered(helm: Helm, files: tuple[str, ...], **settings: str) -> dict[tuple[str, str], dict[str, Any]]:
    """The objects by kind and name."""
    found = helm.render(CHART, paths(files), settings)
    return {(each["kind"], each["metadata"]["name"]): each for each in found}


@each
def test_it_has_no_faults_that_helm_knows_of(helm: Helm, files: tuple[str, ...]) -> None:
    done = helm.run("lint", "--strict", CHART, *(word for file in paths(files) for word in ("--values", file)))
    assert done.returncode == 0, done.stdout
    assert "WARNING" not in done.stdout


def test_a_site_alone_has_worker_and_desk_and_no_gateway(helm: Helm) -> None:
    found = rendered(helm, CHECK_IN)
    assert {name for kind, name in found if kind == "Deployment"} == {"nbfed-worker", "nbfed-desk"}
    assert found["Deployment", "nbfed-worker"]["spec"]["replicas"] == 2


def test_batch_sites_bring_the_gateway(helm: Helm) -> None:
    found = rendered(helm, REDCLARA)
    for kind in ("Deployment", "ServiceAccount", "NetworkPolicy", "Service"):
        assert {name for each, name in found if each == kind} == {"nbfed-worker", "nbfed-desk", "nbfed-gateway"}
    gateway = found["Deployment", "nbfed-gateway"]["spec"]
    assert (gateway["replicas"], gateway["strategy"]) == (1, {"type": "Recreate"})
    assert found["Service", "nbfed-gateway"]["spec"]["clusterIP"] == "None", "forwards have many ports"
    kept = found["PersistentVolumeClaim", "nbfed-gateway"]["metadata"]["annotations"]
    assert kept == {"helm.sh/resource-policy": "keep"}, "the sites trust the authority in it"


@pytest.mark.parametrize("name", ["nbfed-worker", "nbfed-desk", "nbfed-gateway"])
def test_a_pod_may_do_nothing_that_it_need_not(helm: Helm, name: str) -> None:
    spec = rendered(helm, REDCLARA)["Deployment", name]["spec"]["template"]["spec"]
    assert spec["securityContext"]["runAsNonRoot"] is True
    assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert spec["automountServiceAccountToken"] is (name == "nbfed-worker"), "it asks its own cluster what lives there"
    for container in [*spec.get("initContainers", []), *spec["containers"]]:
        security = container["securityContext"]
        assert security == {
            "allowPrivilegeEscalation": False, "readOnlyRootFilesystem": True, "capabilities": {"drop": ["ALL"]},
        }  # fmt: skip
        assert "limits" in container["resources"]
    (secrets,) = [volume["secret"]["secretName"] for volume in spec["volumes"] if "secret" in volume]
    assert secrets == name, "its own alone"


def test_each_process_gets_the_tokens_that_it_shows_and_no_other(helm: Helm) -> None:
    found = rendered(helm, REDCLARA)

    def tokens(name: str) -> dict[str, str]:
        (container,) = found["Deployment", name]["spec"]["template"]["spec"]["containers"]
        return {
            each["name"]: each["valueFrom"]["secretKeyRef"]["key"] for each in container["env"] if "valueFrom" in each
        }

    gateway = {"NBFED_GATEWAY_TOKEN": "hub.services.gateway.apiToken"}
    assert tokens("nbfed-gateway") == gateway
    assert tokens("nbfed-worker") == {"NBFED_WORKER_TOKEN": "hub.services.worker.apiToken", **gateway}
    assert tokens("nbfed-desk") == {"NBFED_DESK_TOKEN": "hub.services.desk.apiToken", **gateway}
    assert {"worker", "desk", "gateway"} <= set(merged(*REDCLARA)["hub"]["services"]), "the other chart makes them"


def test_every_pod_reads_the_same_federation_yaml_as_the_hub_and_starts_anew_when_it_changes(helm: Helm) -> None:
    found = rendered(helm, REDCLARA)
    values = merged(*REDCLARA)
    assert found["ConfigMap", "nbfed-files"]["data"] == {
        file["mountPath"].removeprefix("/etc/nbfed/"): file["stringData"]
        for file in values["hub"]["extraFiles"].values()
    }
    sums = set()
    for files in (REDCLARA, CHECK_IN):
        for (kind, _), each in rendered(helm, files).items():
            if kind == "Deployment":
                pod = each["spec"]["template"]
                sums.add(pod["metadata"]["annotations"]["checksum/files"])
                mounts = {one["mountPath"]: one["name"] for one in pod["spec"]["containers"][0]["volumeMounts"]}
                assert mounts["/etc/nbfed"] == "files"
    assert len(sums) == 2


def test_hub_and_worker_may_use_the_sites_of_this_cluster(helm: Helm) -> None:
    (site,) = [role for (kind, _), role in rendered(helm, REDCLARA).items() if kind == "RoleBinding"]
    assert (site["metadata"]["namespace"], site["roleRef"]["name"]) == ("notebooks", "nbfed")
    assert {(each["name"], each["namespace"]) for each in site["subjects"]} == {
        ("hub", "federation"),
        ("nbfed-worker", "federation"),
    }
    roles = list(yaml.safe_load_all((ROOT / FOLDER / "site" / "namespace.yaml").read_text()))
    assert any(each["kind"] == "Role" and each["metadata"]["name"] == "nbfed" for each in roles)


def test_a_site_of_another_cluster_is_reached_by_its_kubeconfig(helm: Helm) -> None:
    text = merged(*CHECK_IN)["hub"]["extraFiles"]["federation"]["stringData"]
    elsewhere = text.replace("namespace: notebooks", "namespace: notebooks\n    kubeconfig_file: secrets/cloud")
    assert elsewhere != text
    found = rendered(helm, CHECK_IN, **{"hub.extraFiles.federation.stringData": escaped(elsewhere)})
    assert "RoleBinding" not in {kind for kind, _ in found}


def components(rule: dict[str, Any]) -> set[str]:
    """From whose pods, of this namespace, a rule lets in."""
    assert all("namespaceSelector" not in each for each in rule["from"])
    labels = [each["podSelector"]["matchLabels"] for each in rule["from"]]
    return {each.get("component") or each["app.kubernetes.io/component"] for each in labels}


def test_the_desk_is_reached_by_the_proxy_and_reaches_hub_gateway_and_database(helm: Helm) -> None:
    found = rendered(helm, REDCLARA)
    policy = found["NetworkPolicy", "nbfed-desk"]["spec"]
    assert policy["policyTypes"] == ["Ingress", "Egress"]
    (pages,) = policy["ingress"]
    assert components(pages) == {"hub", "proxy", "worker"}
    assert [port["port"] for port in pages["ports"]] == [8083]
    assert {port["port"] for rule in policy["egress"] if "to" not in rule for port in rule["ports"]} == {53, 5432}
    (container,) = found["Deployment", "nbfed-desk"]["spec"]["template"]["spec"]["containers"]
    assert container["readinessProbe"]["httpGet"]["path"] == HEALTH
    listen = yaml.safe_load(merged(*REDCLARA)["hub"]["extraFiles"]["federation"]["stringData"])["listen"]
    (port,) = found["Service", "nbfed-desk"]["spec"]["ports"]
    assert listen["desk_url"] == f"http://nbfed-desk:{port['port']}"


def test_only_processes_of_ours_reach_the_gateway(helm: Helm) -> None:
    policy = rendered(helm, REDCLARA)["NetworkPolicy", "nbfed-gateway"]["spec"]
    assert policy["policyTypes"] == ["Ingress", "Egress"]
    api, forwards = policy["ingress"]
    assert components(api) == {"hub", "worker", "desk"}
    assert [port["port"] for port in api["ports"]] == [8083]
    assert forwards["ports"] == [{"port": 17000, "endPort": 18999, "protocol": "TCP"}], "gateway.forward_ports"
    assert components(forwards) == {"hub", "proxy"}
    open_ports = {port["port"] for rule in policy["egress"] if "to" not in rule for port in rule["ports"]}
    assert open_ports == {53, 5432, 22}


@pytest.mark.parametrize(
    ("change", "said"),
    [
        pytest.param(("worker_ip: 0.0.0.0", "worker_ip: 127.0.0.1"), "listen.worker_ip", id="worker-on-loopback"),
        pytest.param(("desk_ip: 0.0.0.0", "desk_ip: 127.0.0.1"), "listen.desk_ip", id="desk-on-loopback"),
        pytest.param(("http://nbfed-desk:8083", "http://other:8083"), "listen.desk_url", id="desk-elsewhere"),
        pytest.param(("gateway: {url: ", "gateway: {with_up: false} #"), "gateway.url is missing", id="no-address"),
        pytest.param(("http://nbfed-gateway:8083", "http://other:8083"), "is called nbfed-gateway", id="other-name"),
        pytest.param(("federation:\n", "federation: [\n"), "is not YAML", id="not-yaml"),
    ],
)
def test_settings_that_do_not_fit_the_chart_are_said(helm: Helm, change: tuple[str, str], said: str) -> None:
    text = merged(*REDCLARA)["hub"]["extraFiles"]["federation"]["stringData"]
    assert change[0] in text
    settings = {"hub.extraFiles.federation.stringData": escaped(text.replace(*change, 1))}
    done = helm.template(CHART, paths(REDCLARA), settings)
    assert done.returncode != 0
    assert said in done.stderr


def test_without_federation_yaml_it_says_which_file_is_missing(helm: Helm) -> None:
    done = helm.template(CHART, paths(("base.yaml",)))
    assert done.returncode != 0
    assert "-f egi-check-in.yaml" in done.stderr


def test_a_value_that_there_is_not_is_refused(helm: Helm) -> None:
    done = helm.template(CHART, paths(CHECK_IN), {"custom.nbfed.worker.replica": "2"})
    assert done.returncode != 0
    assert "replica" in done.stderr


def escaped(text: str) -> str:
    """For `--set-string`, which takes commas for the next setting."""
    return text.replace("\\", "\\\\").replace(",", "\\,")
