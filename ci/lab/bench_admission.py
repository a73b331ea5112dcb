"""Dry-run creates a second, and the time of the default selection against Gatekeeper."""

from __future__ import annotations

import http.client
import json
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.parse import urlsplit

from pytest_zerotrust.admission.corpus.pods import compliant_pod
from pytest_zerotrust.admission.engine import PARALLEL, AdmissionEngine, Check
from pytest_zerotrust.admission.trial import creation, trial_of
from pytest_zerotrust.checks import KINDS, checks_of
from pytest_zerotrust.cluster.api import DRY_RATE, Api
from pytest_zerotrust.cluster.connection import ClusterOptions, Connection, open_connection
from pytest_zerotrust.core.intent import AdmissionIntent, Intent
from pytest_zerotrust.core.verdict import Verdict
from pytest_zerotrust.fleet.run import new_run
from pytest_zerotrust.intent.load import load_intent

from . import build, settings

REQUESTS = 2000
# No webhook of the lab looks at it.
UNWATCHED = "kube-system"
PATH = f"/api/v1/namespaces/{UNWATCHED}/pods?dryRun=All&fieldValidation=Strict"


def main(lab_name: str) -> int:
    """Measure and print; 1 if a target is missed."""
    lab = settings.load(lab_name)
    kubeconfig = str(lab.kubeconfig)
    connection = open_connection(ClusterOptions(kubeconfig=kubeconfig))
    intent = load_intent(Path(__file__).parents[2] / "zerotrust.yaml")
    assert intent.admission is not None
    pod = compliant_pod("zt-bench", UNWATCHED, intent.admission.registries[0])
    body = json.dumps(pod).encode()

    api = Api(connection)
    request = creation(pod)

    def ours() -> int:
        return api.request(
            request.method, request.path, params=request.params, body=request.body
        ).status

    local = threading.local()

    def bare() -> int:
        if not hasattr(local, "client"):
            local.client = _client(connection)
        local.client.request("POST", PATH, body, {"Content-Type": "application/json"})
        answer = local.client.getresponse()
        answer.read()
        return int(answer.status)

    clients = {"bare keep-alive client": bare, "this project's client": ours}
    rates: dict[str, float] = {}
    for name, send in clients.items():
        rates[name], spent = _rate(send)
        print(
            f"{name:<28} {rates[name]:8.0f} dry-run creates a second, {PARALLEL} connections, no "
            f"webhook; {spent:.0f} us of processor time each"
        )
    ratio = rates["this project's client"] / rates["bare keep-alive client"]
    print(f"{'ratio of the two':<28} {ratio:8.2f}; ours sends {DRY_RATE:.0f} a second at most")

    seconds, count, held = _selection(api, intent, intent.admission)
    print(f"{'default selection':<28} {seconds:8.2f} s for {count} cases, {held} hold")
    kubectl = _kubectl(lab_name, kubeconfig, intent, intent.admission)
    print(f"{'kubectl apply, same pods':<28} {kubectl:8.2f} s")
    return int(rates["this project's client"] < 400 or seconds > 5 or held < count)


def _client(connection: Connection) -> http.client.HTTPSConnection:
    context = ssl.create_default_context(cafile=connection.ca_file)
    if connection.client_cert:
        context.load_cert_chain(*connection.client_cert)
    server = urlsplit(connection.server)
    assert server.hostname is not None
    return http.client.HTTPSConnection(server.hostname, server.port, context=context)


def _rate(send: Callable[[], int]) -> tuple[float, float]:
    """Requests a second, and the microseconds of this process's time that each of them took."""
    with ThreadPoolExecutor(PARALLEL) as pool:
        list(pool.map(lambda _: send(), range(100)))
        started, used = time.monotonic(), time.process_time()
        statuses = set(pool.map(lambda _: send(), range(REQUESTS)))
        spent, used = time.monotonic() - started, time.process_time() - used
    assert statuses == {201}, f"not admitted: {statuses}"
    return REQUESTS / spent, used / REQUESTS * 1e6


def _checks(intent: Intent) -> list[Check]:
    names = ("privileged", "run-as-root", "image-from-elsewhere", "pod-security")
    assert set(names) <= set(KINDS)
    found = [check for name in names for check in checks_of(name, intent)]
    return [check for check in found if not hasattr(check, "why")]  # type: ignore[misc]


def _selection(api: Api, intent: Intent, admission: AdmissionIntent) -> tuple[float, int, int]:
    run = new_run("bench")
    engine = AdmissionEngine(api, run, admission)
    checks = _checks(intent)
    try:
        started = time.monotonic()
        results = [engine.verify(c, checks if not n else ()) for n, c in enumerate(checks)]
        spent = time.monotonic() - started
    finally:
        for namespace in intent.namespaces:
            api.delete_collection(f"/api/v1/namespaces/{namespace}/pods", run.selector)
    return spent, len(results), sum(r.verdict is Verdict.HOLDS for r in results)


def _kubectl(name: str, kubeconfig: str, intent: Intent, admission: AdmissionIntent) -> float:
    """The bad objects of the same cases, as far as kubectl can send them: those that are created,
    each in a process of its own, since one that is rejected must not hide another one."""
    program = str(build.program(settings.cache_folder(), "kubernetes", "kubectl"))
    command = [program, "--kubeconfig", kubeconfig, "apply", "--dry-run=server", "-f", "-"]
    run = new_run("bench")
    trials = [trial_of(check, run, admission) for check in _checks(intent)]
    bodies = [trial.bad.body for trial in trials if "name" in trial.bad.body.get("metadata", {})]

    def apply(manifest: object) -> None:
        text = json.dumps(manifest).encode()
        subprocess.run(command, input=text, capture_output=True, check=False)

    started = time.monotonic()
    with ThreadPoolExecutor(PARALLEL) as pool:
        list(pool.map(apply, bodies))
    return time.monotonic() - started


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
