"""A reply counts only if it is whole, answers this request, and comes from this pod."""

from __future__ import annotations

import hashlib
import json
import random
from typing import Any

import pytest

from pytest_zerotrust.cluster.exec import ExecFailed, ExecOutput
from pytest_zerotrust.core.observation import expected_answer
from pytest_zerotrust.fleet import channel
from pytest_zerotrust.fleet.channel import verify_reply

KEY, NONCE, POD = b"k" * 64, "ab" * 16, "zt-pod"


def reply(**changes: Any) -> dict[str, Any]:
    body = {"v": 1, "nonce": NONCE, "proof": expected_answer(KEY, NONCE), "results": [{}, {}]}
    return {**body, **changes}


def frame(body: bytes, *, size: int | None = None, digest: str | None = None) -> bytes:
    size = len(body) if size is None else size
    digest = hashlib.sha256(body).hexdigest() if digest is None else digest
    return b"ZT1 %d %s\n" % (size, digest.encode()) + body


def framed(**changes: Any) -> bytes:
    return frame(json.dumps(reply(**changes)).encode())


def verify(stdout: bytes) -> Any:
    return verify_reply(stdout, pod=POD, key=KEY, nonce=NONCE, count=2)


def test_a_whole_reply_with_the_right_proof_is_returned():
    assert verify(framed()) == reply()


WHOLE = framed()
BODY = json.dumps(reply()).encode()
ROTTEN: dict[str, bytes] = {
    "nothing": b"",
    "only a line feed": b"\n",
    "only the frame": WHOLE.partition(b"\n")[0] + b"\n",
    "no frame": BODY,
    "last byte lost": WHOLE[:-1],
    "half of it": WHOLE[: len(WHOLE) // 2],
    "a byte too many": WHOLE + b"\n",
    "twice": WHOLE + WHOLE,
    "junk before": b"warning: something\n" + WHOLE,
    "blank before": b" \n" + WHOLE,
    "a bit flipped": WHOLE[:-2] + bytes([WHOLE[-2] ^ 1]) + WHOLE[-1:],
    "length too small": frame(BODY, size=len(BODY) - 1),
    "length too large": frame(BODY, size=len(BODY) + 1),
    "negative length": frame(BODY, size=-len(BODY)),
    "wrong digest": frame(BODY, digest="0" * 64),
    "digest in capitals": frame(BODY, digest=hashlib.sha256(BODY).hexdigest().upper()),
    "no digest": b"ZT1 %d\n" % len(BODY) + BODY,
    "other version": WHOLE.replace(b"ZT1", b"ZT2", 1),
    "not JSON": frame(b"{"),
    "not UTF-8": frame(b"\xff\xfe"),
    "a list": frame(b"[]"),
    "null": frame(b"null"),
    "a number": frame(b"7"),
    "an error": frame(b'{"v": 1, "error": "KeyError: probes"}'),
    "an error beside a proof": framed(error="out of memory"),
    "wrong nonce": framed(nonce="cd" * 16),
    "no nonce": framed(nonce=None),
    "wrong proof": framed(proof="0" * 64),
    "proof of another pod": framed(proof=expected_answer(b"other", NONCE)),
    "proof of an older nonce": framed(proof=expected_answer(KEY, "cd" * 16)),
    "an older reply": framed(nonce="cd" * 16, proof=expected_answer(KEY, "cd" * 16)),
    "nonce for proof": framed(proof=NONCE),
    "no proof": framed(proof=None),
    "proof in a list": framed(proof=[expected_answer(KEY, NONCE)]),
    "one report too few": framed(results=[{}]),
    "one report too many": framed(results=[{}, {}, {}]),
    "no reports": framed(results=None),
    "reports by name": framed(results={"0": {}, "1": {}}),
    "reports in a text": framed(results="ab"),
}


@pytest.mark.parametrize("what", ROTTEN)
def test_a_reply_that_is_not_whole_or_not_ours_is_refused_and_named(what):
    with pytest.raises(ExecFailed, match=f"^reply of {POD}: "):
        verify(ROTTEN[what])


PRE_CHECKED = {
    "proof with a lone surrogate": frame(
        json.dumps(reply(proof="\ud800")).encode(),
    ),
    "length of 5000 digits": b"ZT1 " + b"9" * 5000 + b" x\n",
    "nested too deep": frame(b"[" * 100_000),
}


@pytest.mark.parametrize("what", PRE_CHECKED)
def test_a_hostile_reply_is_refused_without_a_crash(what):
    with pytest.raises(ExecFailed):
        verify(PRE_CHECKED[what])


@pytest.mark.parametrize("results", [[None, {}], [[], {}], ["open", {}], [{}, 7]])
def test_a_report_that_is_no_mapping_is_refused(results):
    with pytest.raises(ExecFailed):
        verify(framed(results=results))


def test_random_damage_is_never_believed():
    seed = random.randrange(2**32)
    dice = random.Random(seed)
    for _ in range(300):
        damaged = bytearray(WHOLE)
        for _ in range(dice.choice((1, 2, 20))):
            damaged[dice.randrange(len(damaged))] = dice.randrange(256)
        if bytes(damaged) == WHOLE:
            continue
        try:
            found = verify(bytes(damaged))
        except ExecFailed:
            continue
        # White space in the frame is the one thing that may differ.
        assert found == reply(), f"seed {seed}"


@pytest.fixture
def execs(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """Records what would be executed, and answers like an agent."""
    seen: list[dict[str, Any]] = []

    def fake(connection: Any, **call: Any) -> ExecOutput:
        seen.append(call)
        size, _, data = call["stdin"].partition(b"\n")
        assert len(data) == int(size)
        request = json.loads(data)
        body = reply(
            nonce=request["nonce"],
            proof=expected_answer(KEY, request["nonce"]),
            results=[{} for _ in request["probes"]],
        )
        return ExecOutput(frame(json.dumps(body).encode()), b"")

    monkeypatch.setattr(channel, "exec_in_pod", fake)
    return seen


def ask(probes: list[dict[str, Any]]) -> Any:
    return channel.ask(None, namespace="ns", pod=POD, key=KEY, probes=probes)


def test_all_probes_of_a_batch_travel_in_one_exec(execs):
    probes = [{"kind": "tcp", "timeout": 1.5, "port": n} for n in range(500)]
    assert len(ask(probes)["results"]) == 500
    assert len(execs) == 1
    assert json.loads(execs[0]["stdin"].partition(b"\n")[2])["probes"] == probes
    assert execs[0]["command"][:3] == ["python3", "-IS", "-c"]
    assert execs[0]["command"][-1] == POD


def test_every_request_has_a_nonce_of_its_own(execs):
    for _ in range(20):
        ask([])
    nonces = {json.loads(e["stdin"].partition(b"\n")[2])["nonce"] for e in execs}
    assert len(nonces) == 20


def test_the_time_for_a_reply_grows_with_the_longest_probe_and_the_number_of_probes(execs):
    for probes in ([], [{"timeout": 5}], [{"timeout": 5}] * 2000):
        ask(probes)
    times = [e["timeout"] for e in execs]
    assert times == sorted(set(times))
    assert times[1] > 5


def test_a_reply_is_given_the_time_that_its_probes_may_wait_for_an_answer(execs):
    for probe in ({"timeout": 1.5}, {"timeout": 1.5, "read_timeout": 30}):
        ask([probe])
    short, long = (e["timeout"] for e in execs)
    assert long - short > 20


def test_many_handshakes_are_given_the_time_that_they_take_in_turns(execs):
    for count in (1, 1000):
        ask([{"kind": "tls", "timeout": 5}] * count)
    one, many = (e["timeout"] for e in execs)
    assert many > one + 10 * 5
