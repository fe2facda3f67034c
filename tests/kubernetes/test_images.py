"""What is in the images, seen by running each as a container of the cluster. How large they are is printed."""

import json
from dataclasses import dataclass
from typing import Any

import pytest

from spawners.backends.kubernetes_pods import pod_name
from tests.kubernetes.conftest import Make
from tests.kubernetes.images import prepare_image, tag_of
from tests.kubernetes.place import ENVIRONMENT, Namespace
from tests.services.test_session import wait_for
from tests.support.containerfiles import IMAGES

LOOK = """
import importlib.metadata, json, os, pathlib, shutil, sys
folders = ("/var/lib/apt/lists", "/var/cache/apt", "/var/log", "/home", "/packed", "/tmp", "/root", "/srv")
files = [os.path.join(path, name) for folder in folders for path, _, names in os.walk(folder) for name in names]
usual = (".bashrc", ".bash_logout", ".profile")
seen = {
    (found.st_dev, found.st_ino): found.st_size
    for top in pathlib.Path("/").iterdir() if top.name not in ("proc", "sys", "dev")
    for path, _, names in os.walk(top) for name in names
    for found in [os.lstat(os.path.join(path, name))]
}
packages = {one.metadata["Name"].lower().replace("_", "-"): one.version for one in importlib.metadata.distributions()}
programs = ("jupyterhub-singleuser", "jupyterhub", "nbfed", "ssh", "pip", "gcc", "node")
writable = [path for path in (sys.prefix, "/usr/bin", "/etc") if os.access(path, os.W_OK)]
print(json.dumps({
    "prefix": sys.prefix,
    "account": [os.getuid(), os.getgid(), str(pathlib.Path.home()), os.getcwd()],
    "packages": packages,
    "programs": [name for name in programs if shutil.which(name)],
    "first": pathlib.Path("/proc/1/comm").read_text().strip(),
    "left": [path for path in files if os.path.basename(path) not in usual and os.path.getsize(path)],
    "settings": [path for path in ("/etc/pip.conf",) if os.path.exists(path) and os.path.getsize(path)],
    "writable": writable,
    "bytes": sum(seen.values()),
}))
"""

WORK = {
    "hub": """
import pycurl, subprocess, sys
from tornado.httpclient import AsyncHTTPClient
AsyncHTTPClient.configure("tornado.curl_httpclient.CurlAsyncHTTPClient")
subprocess.run([sys.executable, "-m", "jupyterhub_idle_culler", "--help"], check=True, capture_output=True)
subprocess.run(["jupyterhub", "--version"], check=True, capture_output=True)
subprocess.run(["nbfed", "config", "schema"], check=True, capture_output=True)
""",
    "gateway": """
import subprocess
subprocess.run(["ssh", "-V"], check=True, capture_output=True)
subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", "/tmp/key"], check=True)
subprocess.run(["nbfed", "gateway", "--help"], check=True, capture_output=True)
""",
    "singleuser-scientific": """
import dask.array, numpy, pandas, scipy.linalg, xarray, matplotlib
from dask.distributed import Client
from sklearn.linear_model import LinearRegression
with Client(processes=False, dashboard_address=None, n_workers=1) as client:
    assert dask.array.ones((100, 100), chunks=50).sum().compute() == 10000
numbers = numpy.arange(10.0)
assert abs(LinearRegression().fit(numbers[:, None], 2 * numbers).coef_[0] - 2) < 1e-9
table = xarray.DataArray(numbers, dims="time", coords={"time": pandas.date_range("2026-11-24", periods=10)})
assert float(table.resample(time="5D").mean()[0]) == 2
""",
}
"""What it is there for."""


@dataclass(frozen=True)
class Expected:
    prefix: str
    account: tuple[int, int, str, str]
    packages: frozenset[str]
    programs: frozenset[str]
    most_bytes: int = 4 * 10**9


_SERVER = frozenset({"jupyterhub", "jupyterlab", "nbfed-lab"})
_OURS = frozenset({"jupyterhub", "notebooks-federation", "pycurl", "jupyterhub-idle-culler", "psycopg-binary"})
_TABLES = _SERVER | {"numpy", "scipy", "pandas", "matplotlib"}


def expected(image: str) -> Expected:
    if image in ("hub", "gateway"):
        programs = {"jupyterhub", "jupyterhub-singleuser", "nbfed"} | ({"ssh"} if image == "gateway" else set())
        home = "/srv/jupyterhub"
        return Expected("/opt/nbfed", (1000, 1000, home, home), _OURS, frozenset(programs))
    packages = {
        "minimal": _SERVER,
        "python": _TABLES,
        "scientific": _TABLES | {"scikit-learn", "xarray", "dask", "distributed"},
    }[image.removeprefix("singleuser-")]
    programs = {"jupyterhub", "jupyterhub-singleuser"}
    most = 600 * 10**6 if image == "singleuser-minimal" else 4 * 10**9
    home = "/home/jovyan"
    return Expected("/opt/notebook", (1000, 100, home, home), frozenset(packages), frozenset(programs), most)


def ran(namespace: Namespace, make: Make, image: str, program: str) -> str:
    """What a program wrote in a container of that image."""
    if namespace.place.node is not None:
        namespace.place.node.load(prepare_image(image))
        image = tag_of(image)
    elif image == f"singleuser-{ENVIRONMENT}":
        image = namespace.place.image
    else:  # never in CI, which names no cluster
        pytest.skip("the cluster of KUBECONFIG is given one image only")
    attempt = make(program, image=image)
    pod = wait_for(
        lambda: (one := namespace.pod_of(attempt))["status"]["phase"] in ("Succeeded", "Failed") and one, 120
    )
    said = namespace.api("GET", f"pods/{pod_name(attempt)}/log").text
    assert pod["status"]["phase"] == "Succeeded", said
    return said


_LARGE = ("singleuser-python", "singleuser-scientific")


def each(*images: str) -> list[Any]:
    """The large ones take minutes to build and to unpack."""
    return [pytest.param(image, marks=pytest.mark.long if image in _LARGE else ()) for image in images]


@pytest.mark.parametrize("image", each(*IMAGES))
def test_an_image_has_what_it_is_for_runs_as_nobody_special_and_keeps_no_leftovers(
    namespace: Namespace, make: Make, image: str, capsys: pytest.CaptureFixture[str]
) -> None:
    wanted = expected(image)
    said = json.loads(ran(namespace, make, image, LOOK))
    with capsys.disabled():
        print(f"\n{image}: {said['bytes'] / 1e6:.0f} MB unpacked")
    assert said["prefix"] == wanted.prefix
    assert tuple(said["account"]) == wanted.account
    assert wanted.packages <= set(said["packages"])
    assert said["packages"]["jupyterhub"].startswith("6.")
    assert set(said["programs"]) == wanted.programs
    assert said["first"] == "tini"
    assert said["left"] == []
    assert said["settings"] == [], "how this machine reaches its packages"
    assert said["writable"] == []
    assert said["bytes"] <= wanted.most_bytes


@pytest.mark.parametrize("image", each(*WORK))
def test_an_image_does_its_work(namespace: Namespace, make: Make, image: str) -> None:
    ran(namespace, make, image, WORK[image])
