"""`scripts/build-image`, with a builder that only writes down what it was told."""

import os
import subprocess
from pathlib import Path

import pytest

from tests.support.containerfiles import ROOT


def build(folder: Path, builder: str, *words: str, **settings: str) -> list[str]:
    """The words that a builder got."""
    folder.mkdir(exist_ok=True)
    program = folder / builder
    program.write_text(f'#!/bin/bash\nprintf "%s\\n" "$@" > {folder}/told\n')
    program.chmod(0o755)
    for needed in ("bash", "git", "dirname"):
        (folder / needed).symlink_to(f"/usr/bin/{needed}")
    environment = {name: os.environ[name] for name in ("HOME",) if name in os.environ}
    done = subprocess.run(
        [str(ROOT / "scripts" / "build-image"), *words],
        env={**environment, "PATH": str(folder), **settings}, capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return (folder / "told").read_text().splitlines()


@pytest.mark.parametrize(
    ("image", "file", "chosen"),
    [
        pytest.param("hub", "hub", ["--target", "hub"], id="hub"),
        pytest.param("gateway", "hub", ["--target", "gateway"], id="gateway"),
        pytest.param(
            "singleuser-scientific", "singleuser", ["--build-arg", "ENVIRONMENT=scientific"], id="environment"
        ),
    ],
)
@pytest.mark.parametrize("builder", ["buildah", "docker"])
def test_an_image_is_built_of_its_file_under_its_name(
    tmp_path: Path, builder: str, image: str, file: str, chosen: list[str]
) -> None:
    told = build(tmp_path / "bin", builder, image, "registry.example.org/n:1", BASE="example.org/base:1")
    text = "\n".join(told)
    assert told[-1] == "."
    assert "\n".join(chosen) in text
    assert f"--file\nimages/{file}/Containerfile" in text
    assert "--tag\nregistry.example.org/n:1" in text
    assert "BASE=example.org/base:1" in told
    assert (f"images/{file}/Containerfile.dockerignore" in told) is (builder == "buildah")


def test_without_a_tag_it_has_the_version_of_the_checkout(tmp_path: Path) -> None:
    told = build(tmp_path / "bin", "buildah", "hub")
    (tag,) = [word for word in told if word.startswith("localhost/notebooks-federation/hub:")]
    assert f"VERSION={tag.rpartition(':')[2]}" in told


def test_an_image_that_there_is_not_is_said(tmp_path: Path) -> None:
    done = subprocess.run(
        [str(ROOT / "scripts" / "build-image"), "desk"], capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == 2
    assert "singleuser-" in done.stderr
