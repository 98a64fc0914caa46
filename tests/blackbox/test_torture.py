"""Each kind of fault that no other test here has, once, under load. `make torture` has them all, in rounds."""

import torture_faults
from torture import torture

# kill -9, a full disk and a failed fsync: test_crash.py, test_faults.py. Damage that stays: test_repair.py.
KINDS = ["kill_9_at_start", "power_cut", "power_cut_at_start", "unreadable_disk", "slow_disk", "paused", "clock_jump", "rot"]


def test_faults_in_turn_lose_nothing_and_show_nothing_false(tmp_path):
    kinds = [getattr(torture_faults, name) for name in KINDS]
    report = torture(int.from_bytes(b"rock"), range(len(kinds)), tmp_path, kinds=kinds, in_a_row=1)
    assert set(report["faults"]) == set(KINDS)
    assert report["acknowledged"] > 100
