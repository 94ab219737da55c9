"""What engines' files say of a container. Not: reading them."""

from __future__ import annotations

import json

import pytest

from services.discovery.roots import engines
from services.messages import Container

ID = "a1" * 32


def test_docker() -> None:
    text = {
        "Name": "/web",
        "Image": "sha256:1",
        "Config": {"Image": "nginx:1", "Env": ["A=secret"]},
    }
    found = engines.docker(json.dumps(text).encode(), ID)
    assert found == Container(id=ID, name="web", image="nginx:1")


@pytest.mark.parametrize(
    ("annotations", "expected"),
    [
        (
            {
                "io.kubernetes.cri.container-name": "app",
                "io.kubernetes.cri.image-name": "r.example/app:2",
            },
            ("app", "r.example/app:2"),
        ),
        (
            {"io.kubernetes.container.name": "app", "io.kubernetes.cri-o.ImageName": "app:2"},
            ("app", "app:2"),
        ),
        ({"nerdctl/name": "web"}, ("web", "")),
    ],
    ids=["containerd", "cri-o", "nerdctl"],
)
def test_a_runtimes_annotations(annotations: dict[str, str], expected: tuple[str, str]) -> None:
    text = {"annotations": annotations, "process": {"env": ["A=secret"]}}
    found = engines.oci(json.dumps(text).encode(), ID)
    assert found is not None
    assert (found.id, found.name, found.image) == (ID, *expected)


def test_podmans_list() -> None:
    metadata = json.dumps({"image-name": "docker.io/library/nginx:1", "name": "web"})
    text = [{"id": "other"}, {"id": ID, "names": ["web"], "metadata": metadata}]
    found = engines.storage(json.dumps(text).encode(), ID)
    assert found == Container(id=ID, name="web", image="docker.io/library/nginx:1")


def test_what_says_nothing_is_nothing() -> None:
    assert engines.docker(b"{}", ID) is None
    assert engines.oci(b'{"ociVersion": "1"}', ID) is None
    assert engines.storage(b"[]", ID) is None


def test_an_id_that_could_lead_elsewhere_is_looked_up_nowhere() -> None:
    assert list(engines.files("../../etc", [])) == []
    assert list(engines.files("a/b", [])) == []
    assert any(ID in path for path, _ in engines.files(ID, []))


def test_dockers_folder_is_found_wherever_its_root_is() -> None:
    inside = f"/data/docker/containers/{ID}"
    container = (
        f"500 400 0:50 / / rw - overlay overlay rw\n"
        f"501 500 254:1 {inside}/hosts /etc/hosts rw - ext4 /dev/vdb rw\n"
        f"502 500 254:1 {inside}/resolv.conf /etc/resolv.conf rw - ext4 /dev/vdb rw\n"
    )
    host = "20 1 254:0 / / rw - ext4 /dev/vda rw\n21 20 254:1 / /srv rw - ext4 /dev/vdb rw\n"
    assert engines.docker_folders(container, host, ID) == [f"/srv{inside}"]
    host = "20 1 254:0 / / rw - ext4 /dev/vda rw\n21 20 254:1 /data /mnt rw - ext4 /dev/vdb rw\n"
    assert engines.docker_folders(container, host, ID) == [f"/mnt/docker/containers/{ID}"]
    assert engines.docker_folders(container, host, "b2" * 32) == []
