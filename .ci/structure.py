"""Checks what a compiler does not: which crate may depend on which, that pages name files and headings that exist, that
no file outgrows a reader."""

import json
import re
import subprocess
import sys
from pathlib import Path
from urllib.parse import unquote

ROOT = Path(__file__).resolve().parents[1]
ALLOWED = {
    "siltstone-log": set(),
    "siltstone-projections": {"siltstone-log"},
    "siltstone-replication": {"siltstone-log"},
    "siltstone": {"siltstone-log", "siltstone-projections", "siltstone-replication"},
    "siltstone-simulation": {"siltstone", "siltstone-log", "siltstone-projections", "siltstone-replication"},
}
MAX_LINES = 800
# What people read and write. Generated lock files, fixtures and licences are none of it.
READ_BY_PEOPLE = {".rs", ".py", ".ts", ".tsx", ".js", ".css", ".html", ".sh", ".toml", ".md"}
# Files of a data directory, which the pages name too.
DATA_FILES = re.compile(r"log/(next\.tmp|[\w<>:-]+\.seg)$")
# Neither the engine nor the crates below it may name HTTP or XML.
CORE = ["log/src", "projections/src", "replication/src", "src/engine"]
DOOR_WORDS = re.compile(r"\b(hyper|axum|http|quick_xml)::")

PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
FENCE = re.compile(r"^(```|~~~).*?^\1[^\n]*$", re.M | re.S)
CODE = re.compile(r"`[^`\n]*`")
# [text](target), ![text](target "title") and [text]: target
LINKS = re.compile(r"\]\(\s*<?([^)\s>]+)>?[^)]*\)|^\[[^\]]+\]:\s*<?([^\s>]+)", re.M)


def anchors(page):
    """The fragments that a page's headings can be reached by, as GitHub makes them."""
    found, seen = set(), {}
    for heading in re.findall(r"^#{1,6}\s+(.*?)\s*#*$", FENCE.sub("", page.read_text()), re.M):
        text = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading)
        slug = re.sub(r"[^\w\- ]", "", text.lower()).replace(" ", "-")
        count = seen[slug] = seen.get(slug, -1) + 1
        found.add(f"{slug}-{count}" if count else slug)
    return found


def broken_links(page):
    for inline, reference in LINKS.findall(CODE.sub("", FENCE.sub("", page.read_text()))):
        target, _, fragment = (inline or reference).partition("#")
        if re.match(r"[a-z][a-z0-9+.-]*:", target):
            continue
        name = f"{page.relative_to(ROOT)} links to {inline or reference}"
        file = (page.parent / unquote(target)).resolve() if target else page
        if not file.is_relative_to(ROOT) or not file.exists():
            yield f"{name}, which does not exist"
        elif fragment and (file.suffix != ".md" or fragment not in anchors(file)):
            yield f"{name}, which has no such heading"


# A test as pages name it: its file and its function.
TESTS = re.compile(r"`((?:src|log|projections|replication|tests)/[\w/.-]+\.(?:rs|py))::(\w+)`")


def missing_tests(page):
    for path, name in TESTS.findall(page.read_text()):
        file = ROOT / path
        start = "fn" if file.suffix == ".rs" else "def"
        if not file.exists() or not re.search(rf"\b{start} {name}\(", file.read_text()):
            yield f"{page.relative_to(ROOT)} names the test {path}::{name}, which does not exist"


def problems():
    metadata = json.loads(
        subprocess.check_output(["cargo", "metadata", "--no-deps", "--format-version", "1", "--locked"], cwd=ROOT)
    )
    packages = {package["name"]: package for package in metadata["packages"]}
    if set(packages) != set(ALLOWED):
        yield f"packages are {sorted(packages)}, the structure knows {sorted(ALLOWED)}"
    for name, package in packages.items():
        edges = {dep["name"] for dep in package["dependencies"] if dep["name"] in ALLOWED and dep["kind"] != "dev"}
        for extra in sorted(edges - ALLOWED.get(name, set())):
            yield f"{name} must not depend on {extra}"
    for page in PAGES:
        yield from broken_links(page)
        yield from missing_tests(page)
        for path in re.findall(r"`((?:src|log|projections|replication|simulation|tests|docs|\.ci)/[\w./-]+\.\w+)`", page.read_text()):
            if not (ROOT / path).exists() and not DATA_FILES.match(path):
                yield f"{page.relative_to(ROOT)} names {path}, which does not exist"
    tracked = subprocess.check_output(["git", "ls-files"], cwd=ROOT, text=True).split()
    for file in map(Path, tracked):
        if file.suffix in READ_BY_PEOPLE and (ROOT / file).exists():
            lines = len((ROOT / file).read_text().splitlines())
            if lines > MAX_LINES:
                yield f"{file} has {lines} lines, more than {MAX_LINES}"
    for folder in CORE:
        for file in sorted((ROOT / folder).rglob("*.rs")):
            for number, line in enumerate(file.read_text().splitlines(), 1):
                if DOOR_WORDS.search(line):
                    yield f"{file.relative_to(ROOT)}:{number} names a door's library: {line.strip()}"


found = list(problems())
print("\n".join(found) if found else "structure: crates, pages and sizes are as they should be")
sys.exit(1 if found else 0)
