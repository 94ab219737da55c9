"""Mount tables of containers: where the layers are in which a file may really be."""

from __future__ import annotations

from services.discovery.roots import overlays

DOCKER = (
    "611 543 0:52 / / rw,relatime master:1 - overlay overlay rw,"
    "lowerdir=/var/lib/docker/overlay2/l/AA:/var/lib/docker/overlay2/l/BB,"
    "upperdir=/var/lib/docker/overlay2/cc/diff,workdir=/var/lib/docker/overlay2/cc/work\n"
    "612 611 0:53 / /proc rw,nosuid - proc proc rw\n"
    "613 611 8:1 /data /data rw - ext4 /dev/sda1 rw\n"
)
LIBRARY = "/usr/lib/libssl.so.3"


def candidates(table: str, path: str = LIBRARY) -> list[str]:
    mount = overlays.overlay(table, path)
    inside = overlays.inside(mount, path) if mount else None
    if mount is None or inside is None:
        return []
    return [f"{layer}/{inside}" for layer in overlays.layers(mount)]


def test_the_upper_layer_comes_before_the_lower_ones_in_order() -> None:
    assert candidates(DOCKER) == [
        f"/var/lib/docker/overlay2/cc/diff{LIBRARY}",
        f"/var/lib/docker/overlay2/l/AA{LIBRARY}",
        f"/var/lib/docker/overlay2/l/BB{LIBRARY}",
    ]


def test_a_path_in_another_mount_has_no_layers() -> None:
    assert candidates(DOCKER, "/data/libssl.so.3") == []
    assert candidates("") == []


def test_the_last_of_several_mounts_at_one_point_counts() -> None:
    table = DOCKER + "614 611 0:60 / / rw - tmpfs tmpfs rw\n"
    assert candidates(table) == []


def test_a_bind_mount_of_a_part_of_an_overlay_is_followed() -> None:
    table = "9 1 0:7 /opt /app rw - overlay overlay rw,lowerdir=/layers/1\n"
    assert candidates(table, "/app/libssl.so.3") == ["/layers/1/opt/libssl.so.3"]
    assert candidates(table, "/application/libssl.so.3") == []


def test_escaped_and_repeated_layers_are_read() -> None:
    table = (
        "9 1 0:7 / /a\\040b rw - overlay none rw,lowerdir+=/x,lowerdir+=/y,lowerdir=/p\\:q:rel\n"
    )
    assert candidates(table, "/a b/libssl.so") == [
        "/x/libssl.so",
        "/y/libssl.so",
        "/p:q/libssl.so",
        "rel/libssl.so",
    ]


def test_a_path_cannot_climb_out_of_a_layer() -> None:
    assert candidates(DOCKER, "/usr/../../etc/libssl.so") == []


def test_lines_that_are_cut_are_skipped() -> None:
    assert candidates("1 2 0:3 / /\n9 - overlay overlay lowerdir=/x\n- overlay\n") == []


def test_relative_layers_may_be_relative_to_any_folder_above_the_mount() -> None:
    table = "9 1 0:7 / /data/overlay2/aa/merged rw - overlay overlay rw,lowerdir=l/A:l/B\n"
    mount = overlays.overlay(table.replace("/data/overlay2/aa/merged", "/"), LIBRARY)
    assert mount is not None
    assert overlays.layers(mount) == ["l/A", "l/B"]
    assert overlays.bases(table, mount) == ["/data/overlay2/aa", "/data/overlay2", "/data", "/"]
