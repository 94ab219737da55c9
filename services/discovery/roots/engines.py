"""What container engines write about a container, and where. Pure: paths and the text of files.

Of Docker, containerd (with Kubernetes or nerdctl), CRI-O and podman. These files hold the whole
environment of a container too, secrets included: only what is named here is ever decoded.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

import msgspec
from msgspec import Struct

from services.messages import Container

_MAX_TEXT = 256
_CONTAINERD = (
    "/run/containerd/io.containerd.runtime.v2.task",
    "/run/k3s/containerd/io.containerd.runtime.v2.task",
    "/run/docker/containerd/daemon/io.containerd.runtime.v2.task",
)
CONTAINERD_NAMESPACES = ("k8s.io", "default", "moby")
_STORAGE = ("/run/containers/storage/overlay-containers", "/var/lib/containers/storage")
_PLAIN = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.\-]{0,127}")  # an id that is a path's component

_NAMES = ("io.kubernetes.cri.container-name", "io.kubernetes.container.name", "nerdctl/name")
_IMAGES = ("io.kubernetes.cri.image-name", "io.kubernetes.cri-o.ImageName")


class _DockerConfig(Struct, frozen=True, rename="pascal"):
    image: str = ""


class _Docker(Struct, frozen=True, rename="pascal"):
    name: str = ""
    config: _DockerConfig = _DockerConfig()


class _Oci(Struct, frozen=True):
    annotations: dict[str, str] = {}


class _Stored(Struct, frozen=True):
    id: str = ""
    names: tuple[str, ...] | None = None
    metadata: str = ""


class _Metadata(Struct, frozen=True, rename="kebab"):
    image_name: str = ""


def docker(text: bytes, identity: str) -> Container | None:
    """config.v2.json"""
    found = msgspec.json.decode(text, type=_Docker)
    return _container(identity, found.name.removeprefix("/"), found.config.image)


def oci(text: bytes, identity: str) -> Container | None:
    """The runtime's config.json, as annotated by containerd's CRI, nerdctl or CRI-O."""
    said = msgspec.json.decode(text, type=_Oci).annotations
    return _container(
        identity, *(next((said[k] for k in keys if k in said), "") for keys in (_NAMES, _IMAGES))
    )


def storage(text: bytes, identity: str) -> Container | None:
    """containers.json of containers/storage: podman's, and CRI-O's."""
    for found in msgspec.json.decode(text, type=list[_Stored]):
        if found.id == identity:
            metadata = msgspec.json.decode(found.metadata or "{}", type=_Metadata)
            return _container(identity, (found.names or ("",))[0], metadata.image_name)
    return None


def _container(identity: str, name: str, image: str) -> Container | None:
    if not name and not image:
        return None
    return Container(id=identity, name=name[:_MAX_TEXT], image=image[:_MAX_TEXT])


Reading = Callable[[bytes, str], Container | None]


def files(identity: str, docker_folders: list[str]) -> Iterator[tuple[str, Reading]]:
    """Where something about this container may stand, and how it is read."""
    if not _PLAIN.fullmatch(identity):
        return
    for folder in (*docker_folders, f"/var/lib/docker/containers/{identity}"):
        yield f"{folder}/config.v2.json", docker
    for state in _CONTAINERD:
        for namespace in CONTAINERD_NAMESPACES:
            yield f"{state}/{namespace}/{identity}/config.json", oci
    running, stored = _STORAGE
    yield f"{running}/{identity}/userdata/config.json", oci
    yield f"{stored}/overlay-containers/containers.json", storage


def docker_folders(mount_table: str, host_table: str, identity: str) -> list[str]:
    """Wherever Docker's data root is: it mounts files of a container's folder into it, by the file
    system's own path, which the host's mounts turn into a path of the host."""
    tail = f"/containers/{identity}"
    found: dict[str, None] = {}
    for mount in map(_mount, mount_table.splitlines()):
        if mount is None or not mount[1].rpartition("/")[0].endswith(tail):
            continue
        device, inside = mount[0], mount[1].rpartition("/")[0]
        for host in map(_mount, host_table.splitlines()):
            if host is not None and host[0] == device and _is_below(inside, host[1]):
                found[(host[2] + inside.removeprefix(host[1].rstrip("/"))).replace("//", "/")] = (
                    None
                )
    return list(found)


def _mount(line: str) -> tuple[str, str, str] | None:
    """(device, root, point)"""
    fields = line.split(" ", 5)
    return (fields[2], fields[3], fields[4]) if len(fields) > 5 else None


def _is_below(path: str, root: str) -> bool:
    return root == "/" or path.startswith(f"{root}/")
