"""A process's container by its cgroups, in the forms that engines use."""

from __future__ import annotations

import pytest

from services import cgroups

A, B = "a1" * 32, "b2" * 32
UID = "12345678-90ab-cdef-1234-567890abcdef"
SLICE = "pod" + UID.replace("-", "_") + ".slice"


def v2(path: str) -> str:
    return f"0::{path}\n"


CONTAINERS = {
    "docker, cgroupfs": (v2(f"/docker/{A}"), A),
    "docker, systemd": (v2(f"/system.slice/docker-{A}.scope"), A),
    "docker, systemd inside": (v2(f"/system.slice/docker-{A}.scope/init.scope"), A),
    "docker in docker": (v2(f"/docker/{A}/docker/{B}"), B),
    "podman": (v2(f"/machine.slice/libpod-{A}.scope/container"), A),
    "podman, rootless": (
        v2(f"/user.slice/user-1000.slice/user@1000.service/user.slice/libpod-{A}.scope"),
        A,
    ),
    "podman, cgroupfs": (v2(f"/libpod_parent/libpod-{A}"), A),
    "cri-o": (v2(f"/kubepods.slice/kubepods-{SLICE}/crio-{A}.scope"), A),
    "containerd, systemd": (
        v2(
            f"/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-{SLICE}/cri-containerd-{A}.scope"
        ),
        A,
    ),
    "containerd, cgroupfs": (v2(f"/kubepods/burstable/pod{UID}/{A}"), A),
    "guaranteed": (v2(f"/kubepods/pod{UID}/{A}"), A),
    "static pod": (v2(f"/kubepods/burstable/pod{'0f' * 16}/{A}"), A),
    "in a pod and deeper": (v2(f"/kubepods/pod{UID}/{A}/docker/{B}"), A),
    "kind": (v2(f"/docker/{A}/kubelet/kubepods/besteffort/pod{UID}/{B}"), B),
    "kind, systemd": (
        v2(
            f"/docker/{A}/kubelet.slice/kubelet-kubepods.slice/kubelet-kubepods-{SLICE}/cri-containerd-{B}.scope"
        ),
        B,
    ),
    "colons": (v2(f"/system.slice/containerd.service/kubepods-{SLICE}:cri-containerd:{A}"), A),
    "another namespace": (v2(f"/../../../kubepods/pod{UID}/{A}"), A),
    "ctr": (v2("/k8s.io/t1"), "t1"),
    "ctr from another namespace": (v2("/../k8s.io/t1"), "t1"),
    "nerdctl": (v2(f"/system.slice/nerdctl-{A}.scope"), A),
    "ecs": (v2(f"/ecs/{'0c' * 16}/{'0c' * 16}-1234567890"), f"{'0c' * 16}-1234567890"),
    "nspawn": (v2("/machine.slice/machine-deb\\x2d12.scope/payload"), "deb-12"),
    "nspawn service": (v2("/machine.slice/systemd-nspawn@deb.service/payload/init.scope"), "deb"),
    "lxc": (v2("/lxc.payload.web/init.scope"), "web"),
    "lxc, old": ("4:memory:/lxc/web\n", "web"),
    "v1": (f"9:name=systemd:/docker/{A}\n4:memory:/docker/{A}\n1:cpu:/\n", A),
    "hybrid, in v1 alone": (f"4:memory:/docker/{A}\n0::/system.slice/docker.service\n", A),
}

OTHERS = {
    "the host": v2("/"),
    "a service": v2("/system.slice/nginx.service"),
    "a user": v2("/user.slice/user-0.slice/session-1.scope"),
    "podman's monitor": v2(f"/machine.slice/libpod-conmon-{A}.scope"),
    "cri-o's monitor": v2(f"/kubepods.slice/kubepods-{SLICE}/crio-conmon-{A}.scope"),
    "a pod's own": v2(f"/kubepods/pod{UID}"),
    "a virtual machine": v2("/machine.slice/machine-qemu\\x2d1\\x2dvm.scope"),
    "a hash that is too long": v2(f"/docker/{A}0"),
    "a job's": "4:memory:/process_api/7e7c67866aab5d51f79eb2b3be8ca5d8\n0::/\n",
    "nothing": "",
    "no line of it": "what\n::\n",
}


@pytest.mark.parametrize(("text", "container"), CONTAINERS.values(), ids=CONTAINERS)
def test_the_container_is_found(text: str, container: str) -> None:
    assert cgroups.container(text) == container


@pytest.mark.parametrize("text", OTHERS.values(), ids=OTHERS)
def test_who_is_in_none_is_in_none(text: str) -> None:
    assert cgroups.container(text) == ""


def test_a_path_alone_says_it_too() -> None:
    assert cgroups.of_path(f"/sys/fs/cgroup/docker/{A}") == A
    assert cgroups.of_path("/sys/fs/cgroup") == ""


def test_what_version_1_says_is_told_apart() -> None:
    assert cgroups.older(v2(f"/docker/{A}")) == ""
    text = f"4:memory:/docker/{A}\n1:name=systemd:/\n0::/system.slice/x.service\n"
    assert cgroups.older(text) == f"4:memory:/docker/{A}\n1:name=systemd:/\n"
