"""A call from inside the mesh works only if the application answered, not a proxy on its way."""

from __future__ import annotations

from typing import Any

import pytest

from pytest_zerotrust.core.mesh import Call, read_call

TIME = "x-envoy-upstream-service-time: 3"
ENVOY = "server: envoy"
UPSTREAM = "upstream connect error or disconnect/reset before headers. reset reason: "


def http(status: str, *fields: str, body: str = "", end: str = "closed") -> dict[str, Any]:
    head = "\r\n".join((f"HTTP/1.1 {status}", *fields))
    return {"stage": "exchange", "end": end, "data": f"{head}\r\n\r\n{body}"}


ANSWERS = {
    "ok": http("200 OK", TIME, ENVOY, body="hello"),
    "ok, capitals": http("200 OK", "X-Envoy-Upstream-Service-Time: 3"),
    "ok, envoy's headers switched off": http("200 OK", body="hello"),
    "no content": http("204 No Content", TIME),
    "redirect": http("302 Found", TIME, "location: /login"),
    "application does not know the path": http("404 Not Found", TIME, ENVOY, body="no such page"),
    "application forbids it": http("403 Forbidden", TIME, ENVOY, body="log in first"),
    "application fails": http("500 Internal Server Error", TIME, ENVOY, body="bug"),
    "quoting the mesh": http("200 OK", TIME, body="RBAC: access denied"),
    "still sending": http("200 OK", TIME, end="silent"),
    "long": http("200 OK", TIME, body="x" * 60000, end="limit"),
}


@pytest.mark.parametrize("what", ANSWERS)
def test_what_the_application_says_is_an_answer(what):
    assert read_call(ANSWERS[what], http=True)[0] is Call.ANSWERED


NOT_DELIVERED = {
    "plaintext to strict": http(
        "503 Service Unavailable", ENVOY, body=UPSTREAM + "connection termination"
    ),
    "no certificate": http(
        "503 Service Unavailable", ENVOY, body=UPSTREAM + "remote connection failure"
    ),
    "no healthy upstream": http("503 Service Unavailable", ENVOY, body="no healthy upstream"),
    "black hole": http("502 Bad Gateway", ENVOY),
    "time-out of the route": http("504 Gateway Timeout", ENVOY, body="upstream request timeout"),
    "header only in the body": http("503 Service Unavailable", ENVOY, body=f"no {TIME} here"),
    "nobody says who": http("500 Internal Server Error"),
}


@pytest.mark.parametrize("what", NOT_DELIVERED)
def test_an_error_that_the_near_proxy_made_is_no_answer(what):
    assert read_call(NOT_DELIVERED[what], http=True)[0] is Call.NOT_DELIVERED


BY_A_PROXY = {
    "near proxy: no route": http("404 Not Found", "date: x", ENVOY, "content-length: 0"),
    "near proxy: a redirect": http("301 Moved Permanently", ENVOY, "location: https://x/"),
    "near proxy: a direct response": http("200 OK", ENVOY, body="hello"),
    "near proxy: HTTP/1.0 refused": http("426 Upgrade Required", ENVOY),
    "near proxy: request not understood": http("400 Bad Request", "connection: close", ENVOY),
    "near proxy: rate limit": http("429 Too Many Requests", ENVOY, body="local_rate_limited"),
    "far proxy: application down": http(
        "503 Service Unavailable", TIME, ENVOY, body=UPSTREAM + "remote connection failure"
    ),
    "far proxy: application resets": http(
        "503 Service Unavailable", TIME, ENVOY, body=UPSTREAM + "connection termination"
    ),
    "far proxy: no healthy upstream": http(
        "503 Service Unavailable", TIME, ENVOY, body="no healthy upstream"
    ),
    "near proxy: the header's name in another header": http(
        "503 Service Unavailable",
        ENVOY,
        "access-control-expose-headers: x-envoy-upstream-service-time",
        body=UPSTREAM + "connection termination",
    ),
}


@pytest.mark.parametrize("what", BY_A_PROXY)
def test_an_error_that_any_proxy_made_is_not_the_applications_answer(what):
    assert read_call(BY_A_PROXY[what], http=True)[0] is not Call.ANSWERED


@pytest.mark.parametrize("what", NOT_DELIVERED)
def test_a_proxys_http_error_on_a_port_that_was_not_known_to_speak_http_is_no_answer(what):
    assert read_call(NOT_DELIVERED[what], http=False)[0] is not Call.ANSWERED


@pytest.mark.parametrize("fields", [(ENVOY,), (ENVOY, TIME)], ids=["near", "far"])
@pytest.mark.parametrize("body", ["RBAC: access denied", "RBAC: access denied\n"])
def test_a_denial_by_authorization_is_known_by_its_words(fields, body):
    call, looked = read_call(http("403 Forbidden", *fields, body=body), http=True)
    assert call is Call.DENIED
    assert looked == "HTTP/1.1 403 Forbidden"


@pytest.mark.parametrize(
    ("end", "call"),
    [
        ("silent", Call.SILENT),
        ("closed", Call.CUT),
        ("reset", Call.CUT),
        ("failed", Call.FAILED),
        ("", Call.FAILED),
    ],
)
@pytest.mark.parametrize("as_http", [True, False])
def test_a_call_without_a_byte_is_never_an_answer(end, call, as_http):
    report = {"stage": "exchange", "end": end, "data": ""}
    assert read_call(report, http=as_http)[0] is call


@pytest.mark.parametrize("end", ["timeout", "refused", "reset", "unreachable", "failed"])
@pytest.mark.parametrize("as_http", [True, False])
def test_a_call_that_did_not_connect_failed_and_says_how(end, as_http):
    call, looked = read_call({"stage": "connect", "end": end, "errno": "E"}, http=as_http)
    assert call is Call.FAILED
    assert looked == f"connect: {end} E"


def test_bytes_of_a_protocol_that_is_not_http_are_an_answer():
    report = {"stage": "exchange", "end": "complete", "data": "pong\r\n"}
    assert read_call(report, http=False) == (Call.ANSWERED, "6 bytes")


HOSTILE = {
    "another protocol": "220 mail.example.com ESMTP\r\n",
    "no status": "HTTP/1.1\r\n\r\n",
    "status in words": "HTTP/1.1 OK 200\r\n\r\n",
    "negative status": "HTTP/1.1 -200 OK\r\n\r\n",
    "spaces": " \r\n\r\n",
    "one byte": "\x15",
    "TLS alert": "\x15\x03\x03\x00\x02\x02\x28",
    "control characters": "\x1b[2J\x00\x07",
    "look-alike": "HTTPS 200 OK\r\n\r\n",
}


@pytest.mark.parametrize("what", HOSTILE)
def test_what_is_not_http_is_not_an_answer_where_http_was_expected(what):
    report = {"stage": "exchange", "end": "closed", "data": HOSTILE[what]}
    call, looked = read_call(report, http=True)
    assert call is Call.FAILED
    assert looked.isprintable()


def test_a_status_of_strange_digits_is_read_without_a_crash():
    report = {"stage": "exchange", "end": "closed", "data": "HTTP/1.1 \xb2\xb2\xb2 OK\r\n\r\n"}
    assert read_call(report, http=True)[0] is Call.FAILED
