"""Rounds of faults on the real program: a load with a journal of what was acknowledged, a fault, a restart, a comparison.
Run it by `make torture ROUNDS=...`. Needs mount and ptrace, as root. A round's seed draws its faults, its load and when they
strike; the scheduler's part no seed repeats."""

import argparse
import collections
import json
import random
import shutil
import signal
import statistics
import sys
import tempfile
import threading
import time
import traceback
from pathlib import Path

import torture_faults
from crash_workload import Worker, check, prepare, wait_for
from siltstone import Server, digest, run, verify
from test_objects import MIB
from volumes import Volume

WORKERS = 4
FAULTS_IN_A_ROW = 2  # so that a fault also meets what another one left
SIZE = 3000 * MIB
FAKETIME = "/usr/$LIB/faketime/libfaketimeMT.so.1"  # the loader knows what $LIB is on this machine


class Bench:
    """One round: a data directory of its own on `volume`, a server, its workers, and what became of them."""

    def __init__(self, seed, volume, report, *, clock_jumps):
        self.dice, self.volume, self.report = random.Random(seed), volume, report
        self.data = volume.path / "data"
        self.clock = volume.path.parent / "clock"
        self.clock.write_text("+0")
        # Then the wall clock comes from that file; the monotonic one stays the system's.
        faketime = {"LD_PRELOAD": FAKETIME, "FAKETIME_TIMESTAMP_FILE": str(self.clock), "FAKETIME_NO_CACHE": "1",
                    "FAKETIME_DONT_FAKE_MONOTONIC": "1"}
        self.server = Server(self.data, environment=faketime if clock_jumps else None)
        self.workers = [Worker(number, self.dice.random()) for number in range(WORKERS)]
        self.client, self.ready = None, False

    def run(self, kinds):
        try:
            self.server.start()
            prepare(self.server.client())
            for kind in kinds:
                self.strike(kind)
            if self.dice.random() < 0.25:
                self.rebuild()
            if self.server.process:
                assert self.server.stop() == 0
            verify(self.data)
        finally:
            self.server.kill()
            self.join()
            shutil.rmtree(self.data, ignore_errors=True)

    def strike(self, kind):
        """A load, a fault in the middle of it, a start, and the comparison."""
        begun = threading.Event()
        self.client, self.ready = self.server.client(retries={"total_max_attempts": 1}), True
        self.workers = [
            Worker(before.number, self.dice.random(), self.server.client(retries={"total_max_attempts": 1}), begun, before, self.volume)
            for before in self.workers
        ]
        for worker in self.workers:
            worker.start()
        early = wait_for(self.workers, self.dice.uniform(0.2, 1.2))
        self.failures()
        assert not early, f"{early} ended before the fault"
        begun.set()
        kind(self)
        self.join()
        self.failures()
        for name in ("acknowledged", "refused", "unknown", "failed_reads"):
            self.report[name] += sum(getattr(worker, name) for worker in self.workers)
        began = time.monotonic()
        self.server.start()
        self.report["recoveries"].append(time.monotonic() - began)
        self.report["faults"][kind.__name__] += 1
        self.check()

    def join(self):
        """Waits for the workers, whose server is gone."""
        for worker in self.workers:
            if worker.ident:
                worker.join(120)
                assert not worker.is_alive(), f"{worker.name} hangs"

    def failures(self):
        for worker in self.workers:
            if worker.failure is not None:
                raise AssertionError(f"{worker.name} saw what must not be") from worker.failure

    def check(self):
        check(self.server.client(), self.workers)

    def rebuild(self):
        """Without projections the same comes back, to the digest; and after a clean stop and its sweep nothing is orphaned."""
        self.swept()
        assert self.server.stop() == 0
        before = digest(self.data)["state"]
        shutil.rmtree(self.data / "projections")
        self.server.start()
        assert self.swept() == 0, "content that nothing names outlived a sweep"
        self.check()
        assert self.server.stop() == 0
        assert digest(self.data)["state"] == before, "the rebuilt projections differ"
        done = run("projection", "verify", self.data)
        assert done.returncode == 0, done.stdout + done.stderr
        self.report["rebuilds"] += 1

    def swept(self):
        """Waits for the sweep that follows a start; returns how many blobs it gave back."""
        deadline = time.monotonic() + 30
        while self.metric("sweep_complete") != 1:
            assert time.monotonic() < deadline, "the sweep does not end"
            time.sleep(0.02)
        return self.metric("swept_blobs_total")

    def metric(self, name):
        lines = self.server.get("/metrics")[1].splitlines()
        return next(float(line.split()[1]) for line in lines if line.startswith(f"siltstone_{name} "))


def new_report(seed):
    return {"seed": seed, "rounds": 0, "faults": collections.Counter(), "acknowledged": 0, "refused": 0, "unknown": 0,
            "failed_reads": 0, "rebuilds": 0, "recoveries": []}


def torture(seed, rounds, folder, *, kinds=None, in_a_row=FAULTS_IN_A_ROW, say=print, enough=None):
    """Runs rounds (numbers), until `enough` (an Event) is set, and returns the report. Each begins with the next kind in turn,
    so that all have theirs."""
    kinds, report, began = kinds or torture_faults.KINDS, new_report(seed), time.monotonic()
    with Volume(folder, SIZE) as volume:
        for number in rounds:
            if enough and enough.is_set():
                break
            dice = random.Random(f"{seed}/{number}")
            drawn = [kinds[number % len(kinds)], *dice.choices(kinds, k=in_a_row - 1)]
            names = ", ".join(kind.__name__ for kind in drawn)
            try:
                Bench(dice.random(), volume, report, clock_jumps=torture_faults.clock_jump in drawn).run(drawn)
            except BaseException:
                say(f"round {number} failed ({names}). Again: make torture SEED={seed} ROUND={number}")
                raise
            report["rounds"] += 1
            say(f"round {number}: {names}; recovered in {report['recoveries'][-1]:.2f} s")
    report["seconds"] = round(time.monotonic() - began, 1)
    recoveries = report.pop("recoveries")
    report["recovery_seconds"] = {"p50": round(statistics.median(recoveries), 2), "max": round(max(recoveries), 2)}
    return report


def as_text(report):
    faults = "\n".join(f"  {name:20} {count}" for name, count in sorted(report["faults"].items()))
    return (f"{report['rounds']} rounds in {report['seconds']} s, seed {report['seed']}, 0 lost, 0 phantoms\n{faults}\n"
            f"requests: {report['acknowledged']} acknowledged, {report['refused']} refused; {report['unknown']} changes unanswered, "
            f"{report['failed_reads']} reads failed in a fault\n"
            f"recovery: p50 {report['recovery_seconds']['p50']} s, max {report['recovery_seconds']['max']} s; "
            f"{report['rebuilds']} rebuilds to the same digest")


def main():
    words = argparse.ArgumentParser(description=__doc__)
    words.add_argument("--rounds", type=int, default=100)
    words.add_argument("--seed", type=int, default=random.SystemRandom().randrange(1 << 32))
    words.add_argument("--round", type=int, help="only this round of the seed")
    words.add_argument("--json", type=Path, help="where to write the report as JSON")
    asked = words.parse_args()
    enough = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: enough.set())  # the round that runs is the last, and the report follows
    print(f"SEED={asked.seed}", flush=True)
    rounds = range(asked.rounds) if asked.round is None else [asked.round]
    with tempfile.TemporaryDirectory(prefix="siltstone-torture-") as folder:
        try:
            report = torture(asked.seed, rounds, Path(folder), say=lambda line: print(line, flush=True), enough=enough)
        except Exception:
            traceback.print_exc()
            return 1
    print(as_text(report))
    if asked.json:
        asked.json.write_text(json.dumps(report, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
