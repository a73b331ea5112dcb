"""The three reference rules, over all the places and ways in which they can be broken."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from pytest_zerotrust.admission.corpus.model import (
    CONTAINER,
    EPHEMERAL,
    INIT,
    SIDECAR,
    TEMPLATES,
    AdmissionCase,
    Edit,
    Spot,
    Way,
    in_spot,
    second,
)
from pytest_zerotrust.admission.corpus.pods import container
from pytest_zerotrust.core.admission_diff import ABSENT

_EPHEMERAL = (
    "The API server sends what is added to a running pod as UPDATE of pods/ephemeralcontainers: "
    "list that resource and UPDATE in the webhook's rules, read spec.ephemeralContainers, and let "
    "no rule begin with 'not is_update(input.review)'."
)
_SECOND = "Read every element of the list, not only the first one."
_SIDECAR = "A sidecar is an init container with restartPolicy Always: read initContainers as well."
_APPLY = "A server-side apply that creates a pod arrives as CREATE: match operations, not verbs."
_TEMPLATE = (
    "The template itself may pass, but the pods that its controller makes may not: match Pods on "
    "CREATE, and exempt no controller's service account."
)
_OWNER = "Anybody can claim an owner: do not skip pods with ownerReferences."
_LABEL = "A label that whoever makes the pod can set must not switch the policy off."
_UPDATE = "The image of an admitted pod can be changed: apply the rule to UPDATE as well."
_OPT_OUTS = (
    ("gatekeeper", "admission.gatekeeper.sh/ignore", "yes"),
    ("opa", "openpolicyagent.org/webhook", "ignore"),
    ("kyverno", "webhooks.kyverno.io/exclude", "true"),
    ("pod-security", "pod-security.kubernetes.io/enforce", "privileged"),
)
"""Labels that switch a policy off where they stand on a namespace; on a pod they must not."""


def _spots(registry: str) -> tuple[tuple[Spot, str], ...]:
    return (
        (CONTAINER, ""),
        (INIT, ""),
        (EPHEMERAL, _EPHEMERAL),
        (SIDECAR, _SIDECAR),
        (second(container("second", registry)), _SECOND),
    )


def privileged(registry: str) -> Iterator[AdmissionCase]:
    """Privileged containers in every list, over every way in, and past the usual exemptions."""
    # The API refuses privileged beside allowPrivilegeEscalation: false, so neither twin says that.
    free = (Edit(("securityContext", "allowPrivilegeEscalation"), ABSENT),)
    field = ("securityContext", "privileged")
    cases = [
        in_spot(
            spot, "privileged", "privileged", field, bad=True, good=False, base=free, remedy=remedy
        )
        for spot, remedy in _spots(registry)
    ]
    yield from cases
    first = cases[0]
    yield first.by(Way.GENERATE_NAME)
    yield first.by(Way.APPLY, _APPLY)
    for way in TEMPLATES:
        yield first.by(way, _TEMPLATE)
    for word, label, value in _OPT_OUTS:
        yield replace(
            first,
            name=f"privileged-with-label-of-{word}",
            base=(*first.base, Edit(("metadata", "labels", label), value)),
            remedy=_LABEL,
        )
    owner = {
        "apiVersion": "apps/v1",
        "kind": "ReplicaSet",
        "name": "nobody",
        "uid": "00000000-0000-0000-0000-000000000000",
        "controller": True,
    }
    yield replace(
        first,
        name="privileged-with-forged-owner",
        base=(*first.base, Edit(("metadata", "ownerReferences"), [owner])),
        remedy=_OWNER,
    )


def root(registry: str) -> Iterator[AdmissionCase]:
    """Containers that may run as root, said or left unsaid, on the pod or on the container."""
    no_user = (Edit(("securityContext", "runAsUser"), ABSENT),)
    unsaid = (
        Edit(("spec", "containers", 0, "securityContext", "runAsUser"), ABSENT),
        Edit(("spec", "containers", 0, "securityContext", "runAsNonRoot"), ABSENT),
        Edit(("spec", "initContainers"), ABSENT),
    )
    field = ("securityContext", "runAsNonRoot")
    for spot, remedy in _spots(registry):
        yield in_spot(
            spot,
            "may-run-as-root",
            "run-as-root",
            field,
            bad=False,
            good=True,
            base=no_user,
            remedy=remedy,
        )
    on_pod = ("spec", "securityContext", "runAsNonRoot")
    yield AdmissionCase(
        name="may-run-as-root-left-unsaid", topic="run-as-root", path=on_pod, bad=ABSENT, good=True,
        base=unsaid, remedy="Require runAsNonRoot to be said, on the container or else on the pod.",
    )  # fmt: skip
    yield AdmissionCase(
        name="may-run-as-root-on-the-pod", topic="run-as-root", path=on_pod, bad=False, good=True,
        base=unsaid, remedy="What the container leaves unsaid, its pod's securityContext decides.",
    )  # fmt: skip
    user = "runAsUser 0 is root whatever runAsNonRoot says: reject it too, on pod and container."
    for spot, remedy in _spots(registry)[:3]:
        yield in_spot(
            spot, "user-0", "run-as-root", ("securityContext", "runAsUser"), bad=0, good=65532,
            remedy=remedy or user,
        )  # fmt: skip
    yield AdmissionCase(
        name="user-0-on-the-pod", topic="run-as-root",
        path=("spec", "securityContext", "runAsUser"), bad=0, good=65532, base=unsaid, remedy=user,
    )  # fmt: skip


def images(registry: str) -> Iterator[AdmissionCase]:
    """Images that do not come from an allowed registry, however much they look like it."""
    good = f"{registry}zerotrust/compliant:1"
    for spot, remedy in _spots(registry):
        yield in_spot(
            spot, "image-from-elsewhere", "images", ("image",), bad="docker.io/library/app:1",
            good=good, remedy=remedy,
        )  # fmt: skip
    for word, image, remedy in _elsewhere(registry):
        yield AdmissionCase(
            name=f"image-{word}", topic="images", path=("spec", "containers", 0, "image"),
            bad=image, good=good, remedy=remedy,
        )  # fmt: skip
    for spot in (CONTAINER, INIT):
        yield replace(
            in_spot(spot, "image", "images", ("image",), bad="docker.io/library/app:1", good=good),
            name=f"image-changed-in-{spot.name}",
            way=Way.UPDATE,
            remedy=_UPDATE,
        )
    volume = ("spec", "volumes", 0)
    yield AdmissionCase(
        name="image-as-volume", topic="images", path=(*volume, "image", "reference"),
        bad="docker.io/library/app:1", good=good, optional=True,
        base=(
            Edit(("spec", "volumes"), []),
            Edit(volume, {"name": "checked-volume"}),
            Edit((*volume, "image"), {"pullPolicy": "IfNotPresent"}),
        ),
        remedy="Files of an image can be mounted without running it: read volumes[].image as well.",
    )  # fmt: skip


def _elsewhere(registry: str) -> Iterator[tuple[str, str, str]]:
    """A word for the id, the image, and what the rule that misses it does wrong."""
    host, _, path = registry.rstrip("/").partition("/")
    name = host.partition(":")[0]
    rest = f"{path}/app:1" if path else "app:1"
    slash = "Compare with the whole prefix, its closing slash included."
    start = "Compare the beginning of the image, not any part of it."
    digest = "0" * 64
    yield "look-alike-suffix", f"{host}.evil.example/{rest}", slash
    yield "look-alike-glued", f"{host}evil.example/{rest}", slash
    yield "look-alike-hyphen", f"{host}-evil.example/{rest}", slash
    yield "look-alike-prefix", f"evil-{host}/{rest}", start
    yield "look-alike-subdomain", f"evil.{host}/{rest}", start
    yield "look-alike-path", f"docker.io/{host}/{rest}", start
    yield "look-alike-user", f"{host}@evil.example/{rest}", slash
    yield "look-alike-unicode", f"{_homoglyph(name)}/{rest}", start
    if f"{name}:5000" != host:
        yield "other-port", f"{name}:5000/{rest}", "A port belongs to the name of a registry."
    yield "trailing-dot", f"{name}./{rest}", slash
    yield "without-host", "app:1", "An image without a host comes from the runtime's own default."
    yield "without-host-but-path", "library/app:1", "Without a host the runtime's default is used."
    yield "by-digest", f"docker.io/library/app@sha256:{digest}", "A digest does not say from where."
    yield "upper-case", "DOCKER.IO/library/app:1", "Hosts have no case: allow, do not forbid."
    yield "by-address", "203.0.113.10/library/app:1", "Allow by name; do not forbid by name."
    yield "by-address-and-port", "203.0.113.10:5000/app:1", "Allow by name; do not forbid by name."
    yield "with-scheme", f"https://{host}/{rest}", start


def _homoglyph(name: str) -> str:
    """The name with one letter that only looks the same."""
    for latin, other in (("a", "\u0430"), ("o", "\u043e"), ("e", "\u0435"), ("i", "\u0456")):
        if latin in name:
            return name.replace(latin, other, 1)
    return f"{name}\u2024"
