"""The safety rules of probe sites, held to real function bodies by walking through these at random.

Every body of the corpus: several builds of OpenSSL, Node's, GnuTLS and Go, x86-64 and arm64.
"""

from __future__ import annotations

import random
from collections.abc import Iterator

import pytest
from iced_x86 import Decoder, FlowControl, Instruction, Register

from services.discovery.code import arm64, placing, sites
from services.discovery.code.calls import ARGUMENTS as NEEDED
from services.discovery.code.disassembly import ARGUMENTS, Body, Leave, Listing, sweep, written
from services.discovery.code.elf import AARCH64, X86_64
from services.discovery.code.probing import Returns
from services.messages import Site
from tests.support.functions import CORPUS, RecordedImage, load

BUILDS = sorted(path.stem for path in CORPUS.glob("*.json"))
IMAGES = {build: load(build) for build in BUILDS}
X86 = [build for build in BUILDS if IMAGES[build].machine == X86_64]
ARM = [build for build in BUILDS if IMAGES[build].machine == AARCH64]
OPENSSL = [build for build in X86 if build.startswith("openssl")]
WALKS, STEPS = 64, 4096
NOP5 = bytes.fromhex("0f1f440000")
ARM_RET = bytes.fromhex("c0035fd6")


def bodies(builds: list[str]) -> Iterator[tuple[str, Body]]:
    for build in builds:
        for body in IMAGES[build].bodies():
            yield f"{build}:{body.name}", body


def each(builds: list[str]) -> pytest.MarkDecorator:
    found = list(bodies(builds))
    return pytest.mark.parametrize(
        "body", [body for _, body in found], ids=[name for name, _ in found]
    )


def walks(listing: Listing) -> Iterator[list[int]]:
    """Ways through a function from its first byte to a RET."""
    chance = random.Random(7)
    for _ in range(WALKS):
        ip, path = listing.body.address, []
        for _ in range(STEPS):
            path.append(ip)
            step = listing.steps[ip]
            if Leave.RETURN in step.leaves:
                yield path
            if not step.inside:
                break
            ip = chance.choice(step.inside)


def instructions(body: Body) -> dict[int, Instruction]:
    return {i.ip: i for i in Decoder(64, body.code, ip=body.address)}


def is_of(image: RecordedImage, site: Site) -> Body:
    body = image.around(site.address)
    assert body is not None
    return body


@each([build for build in X86 if not build.startswith("go")])  # these begin anew to grow stacks
def test_an_entry_comes_first_on_every_way_with_the_arguments_unwritten(body: Body) -> None:
    place = placing.entry(sweep(body), 4, lambda _: None)
    guarded = set(ARGUMENTS[:4])
    for path in walks(sweep(body)):
        assert path.count(place.address) == 1
        before = path[: path.index(place.address)]
        assert all(sweep(body).instructions[ip].flow_control == FlowControl.NEXT for ip in before)
        assert not any(written(sweep(body).instructions[ip]) & guarded for ip in before)


@each(X86)
def test_an_exit_comes_once_on_every_way_with_the_result_final(body: Body) -> None:
    place = placing.emulated_exit(sweep(body))
    if isinstance(place, str):
        assert place
        return
    for path in walks(sweep(body)):
        assert path.count(place.address) == 1
        after = path[path.index(place.address) :]
        assert not any(Register.RAX in written(sweep(body).instructions[ip]) for ip in after)


@each(X86)
def test_rets_are_the_only_ways_out_or_the_function_is_refused(body: Body) -> None:
    found = placing.returns(sweep(body))
    if isinstance(found, str):
        assert found
        return
    decoded = instructions(body)
    assert all(decoded[ip].flow_control == FlowControl.RETURN for ip in found)
    assert {path[-1] for path in walks(sweep(body))} <= set(found)


@each(ARM)
def test_arm64_rets_are_found_whole_or_the_function_is_refused(body: Body) -> None:
    found = arm64.returns(body)
    if isinstance(found, str):
        assert found
        return
    words = range(0, len(body.code), 4)
    plain = {body.address + at for at in words if body.code[at : at + 4] == ARM_RET}
    assert set(found) == plain


@pytest.mark.parametrize("uretprobes", list(Returns))
@pytest.mark.parametrize("build", OPENSSL)
def test_a_site_is_an_instruction_and_no_long_nop_within_a_function(
    build: str, uretprobes: Returns
) -> None:
    image = IMAGES[build]
    for site in sites.choose(image, uretprobes).sites:
        body = is_of(image, site)
        assert site.address in instructions(body)
        at = site.address - body.address
        assert at == 0 or not body.code[at:].startswith(NOP5)


@pytest.mark.parametrize("build", OPENSSL)
def test_where_uretprobes_kill_there_are_none_and_data_is_seen_all_the_same(build: str) -> None:
    chosen = sites.choose(IMAGES[build], Returns.NEVER)
    assert {site.kind for site in chosen.sites} == {"uprobe"}
    for operation in ("read", "write"):
        events = {site.event for site in chosen.sites if site.operation == operation}
        assert events == {"enter", "exit"}
    assert all(reason for _, reason in chosen.omitted)


@pytest.mark.parametrize("build", OPENSSL)
def test_the_first_arguments_are_those_that_the_call_has(build: str) -> None:
    image = IMAGES[build]
    for site in sites.choose(image).sites:
        if site.event == "enter":
            body = is_of(image, site)
            listing = sweep(body)
            guarded = set(ARGUMENTS[: NEEDED[site.abi]])
            for path in walks(listing):
                before = path[: path.index(site.address)]
                assert not any(written(listing.instructions[ip]) & guarded for ip in before)


@pytest.mark.parametrize("build", [build for build in ARM if build.startswith("openssl")])
def test_on_arm64_data_is_seen_at_rets(build: str) -> None:
    chosen = sites.choose(IMAGES[build]).sites
    for operation in ("read", "write"):
        exits = [s for s in chosen if s.operation == operation and s.event == "exit"]
        assert any((s.kind, s.cost) == ("uprobe", "emulated") for s in exits)
        assert {s.frame for s in exits} == {0}
