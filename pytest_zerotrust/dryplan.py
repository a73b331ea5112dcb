"""``--zt-plan``: everything that the selected tests would make and do, told before it is done."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from pytest_zerotrust.admission.corpus.select import CaseCheck
from pytest_zerotrust.admission.gated import gated_name
from pytest_zerotrust.admission.pairs import PairCheck
from pytest_zerotrust.checks import Check
from pytest_zerotrust.cluster.api import Api, ApiFailure, ApiUnreachable
from pytest_zerotrust.cluster.discovery import services_publishing_unready
from pytest_zerotrust.fleet.plan import PodSpec, Role, unready_conflicts
from pytest_zerotrust.needs import Selection, needed_rights
from pytest_zerotrust.preflight import image_of

if TYPE_CHECKING:
    from pytest_zerotrust.session import ZeroTrustSession

_COUNTERS = (
    ("PodDisruptionBudget", "/apis/policy/v1", "poddisruptionbudgets"),
    ("HorizontalPodAutoscaler", "/apis/autoscaling/v2", "horizontalpodautoscalers"),
    ("ResourceQuota", "/api/v1", "resourcequotas"),
    ("LimitRange", "/api/v1", "limitranges"),
)


def plan_lines(session: ZeroTrustSession, selection: Selection) -> Iterator[str]:
    """The plan, line by line. Only reads from the cluster."""
    from pytest_zerotrust.engines import connect

    engines = connect(session)
    intent, settings = session.intent, session.settings
    specs = {
        spec.name: spec
        for spec in (
            *engines.network.plan(session.network_demand),
            *engines.network.plan_of_newborns(session.network_demand),
            *engines.mesh.plan(session.mesh_demand),
            *engines.wire.plan(session.wire_demand),
        )
    }
    yield f"zerotrust: plan for {len(selection.checks)} checks; nothing is created"
    if selection.sentences:
        yield (
            "tests of your own are selected: what they need is known only when they run, and is "
            "not in this plan"
        )
    image = image_of(settings, intent)
    for spec in sorted(specs.values(), key=lambda s: s.where):
        yield from _pod(spec, image)
    if any(spec.namespace == intent.probe.namespace for spec in specs.values()):
        yield f"create Namespace {intent.probe.namespace}, if it is not there"
        yield f"create NetworkPolicy in {intent.probe.namespace}, for pods of this run only"
    for namespace in sorted(_gated(selection)):
        yield (
            f"create Pod {namespace}/{gated_name(engines.fleet.run, namespace)}: compliant, with a "
            f"scheduling gate, so it never runs; changes of it are sent as dry runs"
        )
    for namespace in sorted({spec.namespace for spec in specs.values()}):
        if namespace in intent.baseline_namespaces:
            yield f"create Namespace {namespace}, if it is not there; policies for our pods there"
    for check in selection.checks:
        yield from _target(check)
    yield from _services(specs.values(), selection)
    for namespace in sorted({spec.namespace for spec in specs.values()}):
        here = [spec for spec in specs.values() if spec.namespace == namespace]
        yield from _counters(engines.api, namespace, here)
    services: dict[str, list[tuple[str, Mapping[str, str]]]] = {}
    for namespace in sorted({spec.namespace for spec in specs.values()}):
        try:
            services[namespace] = services_publishing_unready(engines.api, namespace)
        except (ApiFailure, ApiUnreachable) as error:
            yield f"not read: Services of {namespace}: {error}"
    for name, reason in unready_conflicts(specs.values(), services).items():
        yield f"refused {specs[name].where}: {reason}"
    for right in needed_rights(intent, settings.namespaces, selection):
        yield f"permission {right}"


def _gated(selection: Selection) -> set[str]:
    """The namespaces in which admission checks change a pod that must be there."""
    return {
        check.namespace
        for check in selection.checks
        if isinstance(check, CaseCheck) and check.needs_pod and check.placed
    }


def _pod(spec: PodSpec, image: str | None) -> Iterator[str]:
    if spec.refusal:
        yield f"refused {spec.where}: {spec.refusal}"
        return
    labels = ",".join(f"{k}={v}" for k, v in sorted(spec.labels.items()))
    node = spec.node or spec.near
    where = f", node {node}" if node else ""
    if spec.role is Role.CAPTURE:
        where += ", in the network of the node, root with NET_RAW"
    yield (
        f"create Pod {spec.where}: {spec.role.value} for {spec.subject}, image {image}, "
        f"service account {spec.service_account} (no token){where}, labels {labels or 'ours only'}"
    )


def _target(check: Check) -> Iterator[str]:
    if isinstance(check, PairCheck):
        yield f"dry run {check.id}: create a Pod in {check.namespace} with dryRun=All, twice"
    else:
        yield f"target {check.id}"


def _services(specs: Iterable[PodSpec], selection: Selection) -> Iterator[str]:
    by_subject = {spec.subject: spec for spec in specs if spec.role.value == "twin"}
    targets = {
        check.flow.target
        for check in selection.checks
        if getattr(getattr(check, "via", None), "value", "pod-ip") != "pod-ip"
        and hasattr(check, "flow")
    }
    for key in sorted(targets & set(by_subject)):
        spec = by_subject[key]
        yield f"create Service in {spec.namespace} before {spec.where}, for pods of this run only"


def _counters(api: Api, namespace: str, specs: list[PodSpec]) -> Iterator[str]:
    """What counts pods, and would count ours."""
    for kind, prefix, resource in _COUNTERS:
        path = f"{prefix}/namespaces/{namespace}/{resource}"
        try:
            items = api.get(path)["items"]
        except (ApiFailure, ApiUnreachable) as error:
            yield f"not read: {kind} in {namespace}: {error}"
            continue
        for item in items:
            where = f"{kind} {namespace}/{item['metadata']['name']}"
            if kind == "PodDisruptionBudget":
                yield from _budget(where, item["spec"].get("selector") or {}, specs)
            elif kind == "HorizontalPodAutoscaler":
                target = item["spec"].get("scaleTargetRef", {})
                yield (
                    f"counts: {where} scales {target.get('kind')} {target.get('name')}; it sees a "
                    f"twin of its pods as one that is not ready"
                )
            elif kind == "ResourceQuota":
                yield f"counts: {where}: {_quota(item)}; the run adds {len(specs)} pods"
            else:
                yield f"counts: {where} sets limits that the probe pods must meet, too"


def _budget(where: str, selector: Mapping[str, Any], specs: list[PodSpec]) -> Iterator[str]:
    selected = [spec.where for spec in specs if selects(selector, spec.labels)]
    if selected:
        yield (
            f"counts: {where} selects {', '.join(selected)}; a twin is never ready, so it adds "
            f"nothing to the healthy pods of the budget"
        )


def _quota(item: Mapping[str, Any]) -> str:
    status = item.get("status", {})
    hard, used = status.get("hard", {}), status.get("used", {})
    return ", ".join(f"{name} {used.get(name, '?')} of {hard[name]}" for name in sorted(hard))


def selects(selector: Mapping[str, Any], labels: Mapping[str, str]) -> bool:
    """True if a LabelSelector (meta/v1) selects these labels; an empty one selects everything."""
    if any(labels.get(k) != v for k, v in (selector.get("matchLabels") or {}).items()):
        return False
    for term in selector.get("matchExpressions") or ():
        value, values = labels.get(term["key"]), term.get("values") or ()
        met = {
            "In": value in values,
            "NotIn": value not in values,
            "Exists": value is not None,
            "DoesNotExist": value is None,
        }
        if not met.get(term["operator"], True):
            return False
    return True
