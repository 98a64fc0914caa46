"""The page of what S3 clients find here, made from the program's own list of operations and from the table that the
journeys of tests/clients are held to. `--write` writes it; without, a page that says anything else fails."""

import json
import re
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs/s3-coverage.md"
DEBIAN = "Debian's"


def source(path, start, end):
    """The part of a source file between two lines, both of which have to be there."""
    text = (ROOT / path).read_text()
    begin = text.index(start)
    return text[begin : text.index(end, begin)]


def operations():
    """(name, standing) of every operation, in the enum's order."""
    every = re.findall(r'^    (\w+) "s3:', source("src/s3/operation.rs", "\noperations! {", "\n}\n"), re.M)
    arms = source("src/s3/operations.rs", "async fn dispatch(", "_ => bucket::configuration")
    handled = re.findall(r"\bOperation::(\w+)", arms)
    table = source("src/s3/bucket/configuration.rs", "fn unset(", "_ => return None")
    none = re.findall(r"\bOp::(\w+)", table)
    assert every and handled and none and len(set(every)) == len(every), "the sources are not as this reads them"
    assert set(handled) <= set(every) and set(none) <= set(every), "an operation that the enum does not have"
    both = set(handled) & set(none)
    assert not both, f"{sorted(both)} are built, and answered as not set too"
    for name in every:
        yield name, "built" if name in handled else "none set" if name in none else "refused"


def steps():
    """The names of the journey's steps, in order."""
    return re.findall(r'^    "([^"]+)": \w+,$', source("tests/clients/journey.py", "\nSTEPS = {", "\n}\n"), re.M)


def version(client):
    """The version that a lock file fixes."""
    if "pinned" not in client:
        return DEBIAN
    path, name = client["pinned"]
    text = (ROOT / path).read_text()
    if path.endswith(".json"):
        return json.loads(text)["dependencies"][name]
    found = re.search(rf"{re.escape(name)}\W*(?:<version>|version = \"=|==| v)?\W*(\d[\w.]*)", text)
    assert found, f"{path} does not fix {name}"
    return found[1]


def operation_table(rows):
    words = {
        "built": "Built",
        "none set": "Answered as S3 does where none is set; what would set one is refused",
        "refused": "Refused: 501 NotImplemented, and nothing changes",
    }
    for standing, text in words.items():
        names = [name for name, own in rows if own == standing]
        yield f"| {text} | {len(names)} | {', '.join(names)} |"


def page():
    rows = list(operations())
    clients = tomllib.loads((ROOT / "tests/clients/clients.toml").read_text())["client"]
    every = steps()
    yield "# What S3 clients find here"
    yield "Made by `.ci/coverage.py` from the operations of `src/s3/operation.rs`, their handlers, and `tests/clients/clients.toml`;"
    yield "`make test` fails where this page differs from them, and where a client's journey differs from the table."
    yield ""
    yield "## Operations"
    yield f"All {len(rows)} operations of S3 are recognised by name."
    yield ""
    yield "| what happens | number | operations |"
    yield "|---|---|---|"
    yield from operation_table(rows)
    yield ""
    yield "## Journeys"
    yield "Every client goes the same journey (`tests/clients/journey.py`); what it did is looked at with a second client too."
    yield "Backup tools go it with files in place of objects. ✓ is run and works; a number is a lack of the client's own, below."
    yield "A lack that is declared and works after all fails its test. *Short* clients run in `make test`, all in `make clients`."
    yield ""
    yield f"| client | version | runs in | {' | '.join(every)} |"
    yield "|" + "---|" * (len(every) + 3)
    reasons = []
    for name, client in clients.items():
        cells = []
        for step in every:
            reason = client.get("gaps", {}).get(step)
            if reason and (name, reason) not in reasons:
                reasons.append((name, reason))
            cells.append(str(reasons.index((name, reason)) + 1) if reason else "✓")
        runs = "`make test`" if client["short"] else "`make clients`"
        yield f"| {name} | {version(client)} | {runs} | {' | '.join(cells)} |"
    yield ""
    yield from (f"{number}. {name}: {reason}." for number, (name, reason) in enumerate(reasons, 1))
    yield ""
    yield "Every client of the journey could be had and is run; none is left out. They are what registries and Debian hold:"
    yield "rclone, restic and s3fs-fuse are Debian's own versions, which are older than the newest."


text = "\n".join(page()) + "\n"
if sys.argv[1:] == ["--write"]:
    PAGE.write_text(text)
elif not PAGE.exists() or PAGE.read_text() != text:
    sys.exit("docs/s3-coverage.md is out of date: run .ci/coverage.py --write, and look at what changed")
print("coverage page: as the program and the journeys are")
