"""The nats-server of this machine in a container, through testcontainers.

The image is made here from the installed Debian package: the binary and the libraries that it is
linked with. Nothing is pulled, so it works without a registry; testcontainers' own helper container
would have to be pulled and is switched off, so what is started here is also removed here.
"""

from __future__ import annotations

import gc
import io
import os
import re
import subprocess
import tarfile
import warnings
from collections.abc import Callable
from functools import cache
from pathlib import Path

from tests.support.nats_server import executable

REPOSITORY = "plainwire-test-nats"


@cache
def engine_answers() -> bool:
    with warnings.catch_warnings(action="ignore"):  # docker-py leaves a socket that was refused
        answered = _ping()
        gc.collect()
    return answered


def _ping() -> bool:
    import docker

    try:
        client = docker.from_env(timeout=5)
    except docker.errors.DockerException:
        return False
    try:
        return bool(client.ping())
    except (docker.errors.APIError, OSError):
        return False
    finally:
        client.close()


@cache
def image() -> str:
    import docker

    binary = executable()
    version = subprocess.run([binary, "--version"], capture_output=True, text=True, check=True)
    tag = version.stdout.split()[-1].removeprefix("v")
    client = docker.from_env()
    try:
        if not client.images.list(name=f"{REPOSITORY}:{tag}"):
            client.api.import_image_from_data(_root_filesystem(binary), REPOSITORY, tag)
    finally:
        client.close()
    return f"{REPOSITORY}:{tag}"


def _root_filesystem(binary: str) -> bytes:
    linked = subprocess.run(["ldd", binary], capture_output=True, text=True, check=False).stdout
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", dereference=True) as tar:
        tar.add(binary, arcname="nats-server")
        for library in re.findall(r"(/\S+) \(0x", linked):
            tar.add(library, arcname=library)
    return out.getvalue()


class Container:
    """On the host's network: the server chooses its port itself, as it does as a local process."""

    def __init__(self) -> None:
        os.environ["TESTCONTAINERS_RYUK_DISABLED"] = "true"
        from testcontainers.core.config import testcontainers_config

        testcontainers_config.ryuk_disabled = True
        self._container: object | None = None

    def start(self, arguments: list[str], store: Path) -> Callable[[], str]:
        from testcontainers.core.container import DockerContainer

        container = (
            DockerContainer(image())
            .with_command(["/nats-server", *arguments])
            .with_volume_mapping(str(store), str(store), "rw")
            .with_kwargs(network_mode="host")
        )
        self._container = container
        container.start()
        return lambda: b"".join(container.get_logs()).decode()

    def kill(self) -> None:
        if self._container is not None:
            self._container.get_wrapped_container().kill()
            self.stop()

    def stop(self) -> None:
        if self._container is not None:
            self._container.stop()
            self._container = None
