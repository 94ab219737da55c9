"""Four containers of one image: each witness has its own container, and the image's one libssl is
probed once. A private Docker engine; other forms of containers are tested below e2e."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from services.messages import Source
from tests.e2e.apps import curl_client
from tests.support import comparing, docker_engine, leftovers, pipeline, plans, workload
from tests.support.docker_engine import IMAGE, PYTHON, Engine
from tests.support.pipeline import Pipeline, Stored

CONTAINERS = 4


@pytest.fixture(scope="module")
def line(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pipeline]:
    with (
        leftovers.none_left("containers"),
        pipeline.running(tmp_path_factory.mktemp("line")) as running,
    ):
        yield running


@pytest.fixture(scope="module")
def engine(line: Pipeline) -> Iterator[Engine]:
    """Started after capture, whose filter its containers inherit."""
    with docker_engine.running() as running:
        yield running


def start_python(
    engine: Engine, server: workload.Server, folder: Path, name: str
) -> tuple[str, Path]:
    """A container with a Python program that sends its plan and keeps its connection."""
    plan = plans.write(folder / f"{name}.json", plans.plan(f"{name}-python"))
    log = folder / f"{name}.jsonl"
    log.touch()
    program = [PYTHON, "-m", "tests.e2e.apps.http_client", "--hold", str(server.port), str(log)]
    return engine.start(name, folder, *program, str(plan)), log


def run_curl(
    engine: Engine, server: workload.Server, folder: Path, name: str
) -> list[plans.Exchanged]:
    own = folder / f"{name}-curl"
    own.mkdir()
    planned = plans.plan(f"{name}-curl")
    engine.docker("exec", name, *curl_client.arguments("--http1.1", str(server.port), own, planned))
    (own / "log").write_text("".join(curl_client.line(own, n, p) for n, p in enumerate(planned)))
    return plans.read_log(own / "log")


def client_side(line: Pipeline, prefix: str) -> list[Stored]:
    return [s for s in line.witnesses(prefix) if s.witness.role == "client"]


def test_four_containers_of_one_image_are_told_apart_and_probed_once(
    line: Pipeline, engine: Engine, tmp_path: Path
) -> None:
    names = [f"box{n}" for n in range(CONTAINERS)]
    with workload.serving(tmp_path) as server:
        started = {name: start_python(engine, server, tmp_path, name) for name in names}
        for _, log in started.values():
            workload.Client(server.process, log).counted()  # all sent  # type: ignore[arg-type]
        got = {f"{n}-python": plans.read_log(log) for n, (_, log) in started.items()}
        got |= {f"{n}-curl": run_curl(engine, server, tmp_path, n) for n in names}
        served = server.exchanged()
        line.settle()
        coverage = line.coverage()
        engine.remove()

    for program, said in got.items():
        name = program.partition("-")[0]
        truth = {e.id: e for e in comparing.merged(said, served)}
        stored = client_side(line, f"{program}-")
        assert sorted(pipeline.request_id(s.witness) for s in stored) == sorted(truth)
        for s in stored:
            comparing.check(
                s.witness, truth[pipeline.request_id(s.witness)], f"127.0.0.1:{server.port}"
            )
        assert {owner(s.witness.source) for s in stored} == {(started[name][0], name, IMAGE)}
        assert len({s.witness.connection.id for s in stored}) == 1

    shared = [t for t in coverage.attached if str(engine.folder) in t.path and "libssl" in t.name]
    assert len(shared) == 1
    # the server is in no container
    others = [s for s in line.witnesses() if s.witness.role == "server"]
    assert {owner(s.witness.source) for s in others} == {("", "", "")}


def owner(source: Source) -> tuple[str, str, str]:
    return source.container_id, source.container, source.image
