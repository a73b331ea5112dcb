"""What the agent reports is read into a closed set of words; OPEN needs the target's own proof."""

from __future__ import annotations

import random

import pytest

from pytest_zerotrust.core.observation import Seen, expected_answer, read_dns, read_flow

KEY, NONCE = b"k" * 64, "ab" * 16
PROOF = expected_answer(KEY, NONCE)


def seen(**raw: object) -> Seen:
    return read_flow(raw, key=KEY, nonce=NONCE).seen


@pytest.mark.parametrize(
    ("end", "expected"),
    [
        ("timeout", Seen.DROPPED),
        ("refused", Seen.REFUSED),
        ("reset", Seen.REFUSED),
        ("unreachable", Seen.UNREACHABLE),
        ("failed", Seen.FAILED),
        ("", Seen.FAILED),
        ("something new", Seen.FAILED),
        ("open", Seen.FAILED),
    ],
)
def test_a_failed_connect_is_one_of_four_different_things(end, expected):
    assert seen(stage="connect", end=end) is expected


@pytest.mark.parametrize(
    ("end", "expected"),
    [
        ("closed", Seen.CLOSED),
        ("silent", Seen.SILENT),
        ("reset", Seen.CUT),
        ("timeout", Seen.FAILED),
        ("complete", Seen.FAILED),
        ("", Seen.FAILED),
    ],
)
def test_a_connection_without_an_answer_is_not_open(end, expected):
    assert seen(stage="exchange", end=end, data="") is expected


@pytest.mark.parametrize(
    "data",
    [
        f"ZT1 {PROOF} pod-1\n",
        f"ZT1 {PROOF}\n",
        f"ZT1 {PROOF}",
        f"  ZT1   {PROOF}   pod\r\n",
        f"ZT1 {PROOF} pod\nand more\n" + "x" * 60000,
    ],
)
def test_the_proof_of_the_targets_key_is_open(data):
    assert seen(stage="exchange", end="complete", data=data) is Seen.OPEN


WRONG = {
    "wrong proof": f"ZT1 {'0' * 64} pod\n",
    "proof of another key": f"ZT1 {expected_answer(b'other', NONCE)} pod\n",
    "proof of an older nonce": f"ZT1 {expected_answer(KEY, 'cd' * 16)} pod\n",
    "reflected nonce": f"ZT1 {NONCE} pod\n",
    "reflected request": f"ZT1 {NONCE}\n",
    "proof without the word": f"{PROOF}\n",
    "proof at another place": f"ZT1 pod {PROOF}\n",
    "other version": f"ZT2 {PROOF} pod\n",
    "truncated proof": f"ZT1 {PROOF[:63]} pod\n",
    "proof with a tail": f"ZT1 {PROOF}0 pod\n",
    "proof in capitals": f"ZT1 {PROOF.upper()} pod\n",
    "word only": "ZT1\n",
    "http": "HTTP/1.1 200 OK\r\n\r\n",
    "banner before the proof": f"220 hello\nZT1 {PROOF} pod\n",
    "huge": "x" * 65536,
    "not ascii": "ZT1 \xff\xfe\xe9 pod\n",
    "null bytes": "\x00" * 64,
    "one byte": "Z",
}


@pytest.mark.parametrize("what", WRONG)
def test_an_answer_without_the_proof_is_the_wrong_server(what):
    assert seen(stage="exchange", end="complete", data=WRONG[what]) is Seen.WRONG_SERVER


@pytest.mark.parametrize("stage", ["none", "", "dns", None, 7, "EXCHANGE"])
def test_a_proof_in_an_unknown_stage_is_no_answer(stage):
    data = f"ZT1 {PROOF} pod\n"
    assert seen(stage=stage, end="complete", data=data) is Seen.FAILED


def test_white_space_alone_is_not_an_answer():
    assert seen(stage="exchange", end="silent", data=" \r\n\t") is Seen.SILENT


def test_an_empty_report_is_a_failed_probe():
    assert seen() is Seen.FAILED


def test_a_proof_that_arrived_while_connecting_is_not_believed():
    assert seen(stage="connect", end="timeout", data=f"ZT1 {PROOF}\n") is Seen.DROPPED


def test_random_answers_are_never_open():
    seed = random.randrange(2**32)
    dice = random.Random(seed)
    for _ in range(300):
        size = dice.choice((1, 10, 70, 300))
        data = "".join(chr(dice.randrange(256)) for _ in range(size))
        prefix = dice.choice(("", "ZT1 ", f"ZT1 {NONCE} "))
        found = seen(stage="exchange", end="complete", data=prefix + data)
        assert found is not Seen.OPEN, f"seed {seed}"


def test_the_answer_differs_for_each_key_and_nonce_and_does_not_show_them():
    answers = {expected_answer(key, nonce) for key in (b"a", b"b") for nonce in ("1", "2")}
    assert len(answers) == 4
    assert NONCE not in PROOF
    assert KEY.decode() not in PROOF


@pytest.mark.parametrize(
    ("detail", "text"),
    [("", "dropped after 1500 ms"), ("ETIMEDOUT", "dropped (ETIMEDOUT) after 1500 ms")],
)
def test_an_observation_reads_as_what_was_seen_and_after_how_long(detail, text):
    raw = {"stage": "connect", "end": "timeout", "ms": 1500.0, "errno": detail}
    assert str(read_flow(raw, key=KEY, nonce=NONCE)) == text


ADDRESS = "10.96.0.1"


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        ({"end": "complete", "rcode": 0, "addresses": [ADDRESS]}, Seen.OPEN),
        ({"end": "complete", "rcode": 0, "addresses": ["1.2.3.4", ADDRESS]}, Seen.OPEN),
        ({"end": "complete", "rcode": 0, "addresses": ["1.2.3.4"]}, Seen.WRONG_SERVER),
        ({"end": "complete", "rcode": 0, "addresses": []}, Seen.WRONG_SERVER),
        ({"end": "complete", "rcode": 2, "addresses": [ADDRESS]}, Seen.WRONG_SERVER),
        ({"end": "complete", "rcode": 3, "addresses": []}, Seen.WRONG_SERVER),
        ({"end": "complete", "rcode": None, "addresses": [ADDRESS]}, Seen.WRONG_SERVER),
        ({"end": "complete", "rcode": "0", "addresses": [ADDRESS]}, Seen.WRONG_SERVER),
        ({"end": "complete"}, Seen.WRONG_SERVER),
        ({"end": "timeout", "addresses": [ADDRESS], "rcode": 0}, Seen.DROPPED),
        ({"end": "refused"}, Seen.REFUSED),
        ({"end": "reset"}, Seen.REFUSED),
        ({"end": "unreachable"}, Seen.UNREACHABLE),
        ({"end": "closed"}, Seen.CLOSED),
        ({"end": "malformed"}, Seen.WRONG_SERVER),
        ({"end": "failed"}, Seen.FAILED),
        ({"end": "new word"}, Seen.FAILED),
        ({}, Seen.FAILED),
    ],
)
def test_a_look_up_is_open_only_with_the_expected_address(raw, expected):
    assert read_dns(raw, expected=ADDRESS).seen is expected


def test_a_look_up_is_not_open_when_the_right_address_is_not_known():
    raw = {"end": "complete", "rcode": 0, "addresses": [ADDRESS]}
    assert read_dns(raw, expected="").seen is Seen.WRONG_SERVER


HOSTILE = {
    "time is text": {"stage": "connect", "end": "timeout", "ms": "soon"},
    "time is null": {"stage": "connect", "end": "timeout", "ms": None},
    "time is a list": {"stage": "connect", "end": "timeout", "ms": [1]},
    "lone surrogate": {"stage": "exchange", "end": "complete", "data": "ZT1 \ud800 pod\n"},
}


@pytest.mark.parametrize("what", HOSTILE)
def test_a_malformed_report_is_read_without_a_crash_and_is_never_open(what):
    observation = read_flow(HOSTILE[what], key=KEY, nonce=NONCE)
    assert observation.seen is not Seen.OPEN


@pytest.mark.parametrize(
    "raw",
    [
        {"stage": ["exchange"], "end": {}, "data": {"ZT1": PROOF}},
        {"stage": "exchange", "end": None, "data": [f"ZT1 {PROOF} pod"]},
        {"stage": "exchange", "end": 0, "data": 0},
        {"stage": "connect", "end": ["timeout"], "errno": {}},
    ],
    ids=["mapping", "list", "zero", "end-in-list"],
)
def test_values_of_other_types_are_never_open(raw):
    assert read_flow(raw, key=KEY, nonce=NONCE).seen is not Seen.OPEN


def test_a_look_up_with_null_for_addresses_is_read_without_a_crash():
    raw = {"end": "complete", "rcode": 0, "addresses": None}
    assert read_dns(raw, expected=ADDRESS).seen is not Seen.OPEN


@pytest.mark.parametrize(
    ("raw", "text"),
    [
        ({"end": "complete", "rcode": 0, "addresses": [ADDRESS]}, f"answered {ADDRESS}"),
        ({"end": "complete", "rcode": 3, "server": "10.0.0.1"}, "(rcode 3), server 10.0.0.1"),
        ({"end": "timeout", "server": "10.0.0.1"}, "dropped, server 10.0.0.1"),
        ({"end": "failed", "errno": "EMFILE"}, "probe failed (EMFILE), server unknown"),
    ],
)
def test_a_look_up_reads_as_what_was_seen_and_who_was_asked(raw, text):
    assert str(read_dns(raw, expected=ADDRESS)).endswith(text)
