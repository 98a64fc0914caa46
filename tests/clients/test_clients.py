"""Every client goes the same journey. What a client cannot do is declared in `clients.toml`; what is declared and works
after all fails here, so that the table stays true in both directions.

`SILTSTONE_CLIENTS=all` runs every client, otherwise those that are quick to install."""

import os

import pytest
from adapter import Refused, Unable
from certificates import issue
from clients import ADAPTERS, TABLE
from journey import STEPS, Journey
from siltstone import Server

ALL = os.environ.get("SILTSTONE_CLIENTS") == "all"
RUNS = [name for name, client in TABLE.items() if ALL or client["short"]]
# These verify the server's certificate, and leave the integrity of a body to TLS: an unsigned body with a checksum behind it.
HTTPS = ["boto3", "AWS CLI"]


def cases(names, group):
    return [
        pytest.param(name, step, marks=pytest.mark.xdist_group(group + name), id=f"{name}: {step}")
        for name in names
        for step in STEPS
    ]


def all_begun(server, tmp_path_factory):
    """The journey of each client at this server, begun when it is first asked for."""
    server.start()
    begun = {}

    def begin(name):
        if name not in begun:
            folder = tmp_path_factory.mktemp("client")
            reference, bucket = server.client(), Server.unique("journey")
            reference.create_bucket(Bucket=bucket)
            adapter, trusted = ADAPTERS[name], {"authority": server.tls.authority} if server.tls else {}
            client = adapter(server.ready["s3"], folder / "home", **trusted)
            stranger = adapter(server.ready["s3"], folder / "stranger", secret_key="not-the-secret-of-this-key", **trusted)
            begun[name] = Journey(client, stranger, server, reference, bucket, folder)
        return begun[name]

    yield begin
    for journey in begun.values():
        journey.client.stop()
        journey.stranger.stop()
    server.stop()


@pytest.fixture(scope="session")
def journeys(tmp_path_factory):
    yield from all_begun(Server(tmp_path_factory.mktemp("clients") / "data"), tmp_path_factory)


@pytest.fixture(scope="session")
def https_journeys(tmp_path_factory):
    folder = tmp_path_factory.mktemp("https")
    yield from all_begun(Server(folder / "data", tls=issue(folder)), tmp_path_factory)


def take(journey, name, step):
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


@pytest.mark.parametrize("name,step", cases(RUNS, ""))
def test_journey(journeys, name, step):
    take(journeys(name), name, step)


@pytest.mark.parametrize("name,step", cases(HTTPS, "https "))
def test_journey_over_https(https_journeys, name, step):
    take(https_journeys(name), name, step)


def test_the_table_names_clients_and_steps_that_exist():
    assert list(TABLE) == list(ADAPTERS)
    for name, client in TABLE.items():
        assert set(client.get("gaps", {})) <= set(STEPS), name
        assert all(reason for reason in client.get("gaps", {}).values()), name
