"""What is in the image of a notebook environment, seen by running it."""

import json

from spawners.backends.kubernetes_pods import pod_name
from tests.kubernetes.conftest import Make
from tests.kubernetes.place import Namespace
from tests.services.test_session import wait_for

LOOK = """
import importlib.metadata, json, os, pathlib, shutil, sys
folders = ("/var/lib/apt/lists", "/var/cache/apt", "/var/log", "/home", "/packed", "/tmp")
files = [os.path.join(path, name) for folder in folders for path, _, names in os.walk(folder) for name in names]
usual = ("/home/jovyan/.bashrc", "/home/jovyan/.bash_logout", "/home/jovyan/.profile")
left = [path for path in files if path not in usual and os.path.getsize(path)]
print(json.dumps({
    "prefix": sys.prefix,
    "account": [os.getuid(), os.getgid(), str(pathlib.Path.home()), os.getcwd()],
    "versions": {name: importlib.metadata.version(name) for name in ("jupyterhub", "jupyterlab", "nbfed_lab")},
    "programs": [shutil.which(name) for name in ("jupyterhub-singleuser", "pip", "gcc")],
    "first": pathlib.Path("/proc/1/comm").read_text().strip(),
    "left": left,
    "settings": [path for path in ("/etc/pip.conf",) if os.path.exists(path) and os.path.getsize(path)],
}))
"""


def test_an_image_has_the_server_and_our_part_of_it_runs_as_nobody_special_and_keeps_no_leftovers(
    namespace: Namespace, make: Make
) -> None:
    attempt = make(LOOK)
    wait_for(lambda: namespace.pod_of(attempt)["status"]["phase"] == "Succeeded")
    said = json.loads(namespace.api("GET", f"pods/{pod_name(attempt)}/log").text)
    assert said["prefix"] == "/opt/notebook"
    assert said["account"] == [1000, 100, "/home/jovyan", "/home/jovyan"]
    assert said["versions"]["jupyterhub"].startswith("6.")
    assert said["versions"]["nbfed_lab"]
    assert said["programs"] == ["/opt/notebook/bin/jupyterhub-singleuser", None, None]
    assert said["first"] == "tini"
    assert said["left"] == []
    assert said["settings"] == [], "how this machine reaches its packages"
