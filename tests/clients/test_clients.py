"""Every client goes the same journey. What a client cannot do is declared in `clients.toml`; what is declared and works
after all fails here, so that the table stays true in both directions.

`SILTSTONE_CLIENTS=all` runs every client, otherwise those that are quick to install."""

import os

import pytest
from adapter import Refused, Unable
from clients import ADAPTERS, TABLE
from journey import STEPS, Journey
from siltstone import Server

ALL = os.environ.get("SILTSTONE_CLIENTS") == "all"
RUNS = [name for name, client in TABLE.items() if ALL or client["short"]]
CASES = [
    pytest.param(name, step, marks=pytest.mark.xdist_group(name), id=f"{name}: {step}") for name in RUNS for step in STEPS
]


@pytest.fixture(scope="session")
def server(tmp_path_factory):
    server = Server(tmp_path_factory.mktemp("clients") / "data")
    server.start()
    yield server
    server.stop()


@pytest.fixture(scope="session")
def journeys(server, tmp_path_factory):
    """The journey of each client, begun when it is first asked for."""
    begun = {}

    def begin(name):
        if name not in begun:
            folder = tmp_path_factory.mktemp("client")
            reference, bucket = server.client(), Server.unique("journey")
            reference.create_bucket(Bucket=bucket)
            adapter = ADAPTERS[name]
            client = adapter(server.ready["s3"], folder / "home")
            stranger = adapter(server.ready["s3"], folder / "stranger", secret_key="not-the-secret-of-this-key")
            begun[name] = Journey(client, stranger, server, reference, bucket, folder)
        return begun[name]

    yield begin
    for journey in begun.values():
        journey.client.stop()
        journey.stranger.stop()


@pytest.mark.parametrize("name,step", CASES)
def test_journey(journeys, name, step):
    journey = journeys(name)
    go = getattr(journey.client, "own_steps", STEPS).get(step)
    gap = TABLE[name].get("gaps", {}).get(step)
    if gap is None:
        assert go is not None, "a step that the client cannot take is declared in clients.toml"
        go(journey)
        return
    if go is not None:
        try:
            go(journey)
        except (Unable, Refused, AssertionError):
            pass
        else:
            pytest.fail(f"{name} can do {step!r} after all: remove the gap from clients.toml")


def test_the_table_names_clients_and_steps_that_exist():
    assert list(TABLE) == list(ADAPTERS)
    for name, client in TABLE.items():
        assert set(client.get("gaps", {})) <= set(STEPS), name
        assert all(reason for reason in client.get("gaps", {}).values()), name
