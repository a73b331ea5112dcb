"""How long a policy takes to come into force, from what the watching agents report."""

from __future__ import annotations

from typing import Any

import pytest

from pytest_zerotrust.core.observation import expected_answer
from pytest_zerotrust.fleet import topology
from pytest_zerotrust.network import enforcement
from pytest_zerotrust.network.enforcement import (
    Enforcement,
    closed_after,
    note_of,
    reached_by,
    seal,
)
from tests.fakes.fleet import FakeFleet
from tests.fakes.world import DROPPED, World, answer

PROOF = "p" * 64
HIT, MISS = ("exchange", "complete", f"ZT1 {PROOF} pod\n"), ("connect", "timeout", "")
WRONG = ("exchange", "complete", "ZT1 other pod\n")


def watch(*kinds: tuple[str, str, str], end: str = "complete") -> dict[str, Any]:
    entries = [[100.0 * i, *kind] for i, kind in enumerate(kinds)]
    return {"stage": "watch", "end": end, "entries": entries}


@pytest.mark.parametrize(
    ("report", "expected"),
    [
        (watch(HIT, HIT, MISS, MISS), 200.0),
        (watch(HIT, MISS, HIT, MISS, MISS), 300.0),
        (watch(MISS, HIT, MISS), 200.0),
        (watch(HIT, WRONG, WRONG), 100.0),
        (watch(HIT, HIT), None),
        (watch(MISS, MISS), None),
        (watch(HIT, MISS, HIT), None),
        (watch(WRONG, MISS), None),
        (watch(), None),
        (watch(HIT, MISS, end="failed"), None),
    ],
)
def test_the_moment_is_the_first_of_the_attempts_that_stay_unanswered(report, expected):
    assert closed_after(report, PROOF) == expected


def test_entries_count_in_the_order_of_their_time():
    report = watch(HIT, MISS, MISS)
    report["entries"].reverse()
    assert closed_after(report, PROOF) == 100.0


class Watched(FakeFleet):
    """Canaries that are open until the policy is made, and whose watch then sees it come."""

    def __init__(self, after: int = 3, ahead: float = 0.0) -> None:
        super().__init__(World())
        self.sealed = False
        self.after, self.ahead = after, ahead
        self.world.rules.append(
            lambda source, target, port: (
                None if self.sealed else answer(target, {"send": f"ZT1 {self.nonce}"})
            )
        )
        self.nonce = ""

    def _report(self, spec: Any, source: Any, probe: Any) -> Any:
        self.nonce = str(probe.get("send", " ")).split()[-1] if probe.get("send") else ""
        if probe["kind"] != "watch":
            return super()._report(spec, source, probe)
        target = self._at(probe["ip"])
        proof = expected_answer(target.key, self.nonce)
        hit = ["exchange", "complete", f"ZT1 {proof} x\n"]
        entries = [[100.0 * i, *(hit if i < self.after else MISS)] for i in range(20)]
        return {
            "stage": "watch",
            "end": "complete",
            "began": 1000.0 + self.ahead,
            "entries": entries,
            "kept": "answered",
        }

    def _reply(self, name: str, probes: Any) -> Any:
        return {**super()._reply(name, probes), "started": 1000.0 + self.ahead, "took": 3.0}


@pytest.fixture(autouse=True)
def clock(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(enforcement.time, "sleep", lambda seconds: None)


def measured(fleet: FakeFleet) -> Enforcement:
    nodes = ("node-1", "node-2")
    members = fleet.members(topology.canaries(fleet.run, fleet.own_namespace, nodes))
    return seal(fleet, members, nodes).measured()


PAIRS = {(a, b) for a in ("node-1", "node-2") for b in ("node-1", "node-2")}
JOINED = "another process of this run made the policy"


def test_a_seal_that_is_there_already_is_not_measured_and_its_note_is_believed():
    fleet = Watched()
    fleet.sealed = True
    found = measured(fleet)
    assert found.why_not == JOINED
    assert found.unreached == ()
    assert fleet.execs == []


@pytest.mark.parametrize(
    ("note", "unreached"),
    [
        (note_of(PAIRS - {("node-2", "node-1")}), ("node-2 -> node-1",)),
        (note_of({("node-3", "node-3")}), 4),
        ("", 4),
        ("not JSON", 4),
        ("[1, 2]", 4),
        ('{"node-1": null}', 4),
    ],
)
def test_what_the_note_at_the_seal_does_not_vouch_for_was_not_shown(note, unreached):
    fleet = Watched()
    fleet.sealed, fleet.note = True, note
    found = measured(fleet).unreached
    assert found == unreached if isinstance(unreached, tuple) else len(found) == unreached


@pytest.mark.parametrize("note", [note_of(PAIRS), ""])
def test_who_is_second_believes_what_it_saw_itself_and_the_note(note, monkeypatch):
    seconds = iter(range(0, 1000, 4))
    monkeypatch.setattr(enforcement.time, "monotonic", lambda: float(next(seconds)))

    class Second(Watched):
        def seal(self, own: str) -> bool:
            self.sealed, self.note = True, note
            return False

    fleet = Second()
    assert measured(fleet) == Enforcement(why_not=JOINED)
    blind = Second()
    blind.world.rules.insert(0, lambda source, target, port: DROPPED)
    assert len(measured(blind).unreached) == (0 if note else 4)


def test_a_note_tells_the_pairs_and_is_left_out_if_no_object_could_hold_it():
    assert reached_by(note_of(PAIRS)) == PAIRS
    assert note_of((f"{a:>0200}", f"{b:>0200}") for a in range(40) for b in range(40)) == ""


def test_canaries_that_nobody_reaches_before_the_policy_are_told(monkeypatch):
    seconds = iter(range(0, 1000, 4))
    monkeypatch.setattr(enforcement.time, "monotonic", lambda: float(next(seconds)))
    fleet = Watched()
    fleet.world.rules.insert(0, lambda source, target, port: DROPPED)
    found = measured(fleet)
    assert len(found.unreached) == 4
    assert fleet.sealed
    assert reached_by(fleet.note) == set()


def test_the_policy_is_made_once_and_every_pair_is_measured():
    fleet = Watched()
    found = measured(fleet)
    assert fleet.sealed
    assert found.unreached == ()
    assert reached_by(fleet.note) == PAIRS
    assert set(found.closed) == {(a, b) for a in fleet.nodes for b in fleet.nodes}
    assert found.median is not None
    assert "a connection that was open when the policy came: goes on" in found.lines()


def test_without_a_measurement_there_is_no_number():
    assert Enforcement().median is None
    assert Enforcement().worst is None
    assert Enforcement().lines() == ("time to enforce a new policy: not measured",)


def test_a_watch_that_fails_costs_the_measure_only():
    def broken() -> enforcement.Enforcement:
        raise RuntimeError("no thread")

    found = enforcement.Sealing({("a", "b")}, broken).measured()
    assert found.unreached == ("a -> b",)
    assert found.why_not == "the watch failed: no thread"
    assert found.median is None
