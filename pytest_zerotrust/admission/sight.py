"""What is seen of an engine: its webhooks, and whether its eyes may be turned from a namespace."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from pytest_zerotrust.admission.labels import Guard, try_switch
from pytest_zerotrust.cluster.api import Api
from pytest_zerotrust.core.escapes import (
    GUARD_OF_GATEKEEPER,
    GUARDED_BY_GATEKEEPER,
    Switch,
    Weakness,
    of_switch,
)
from pytest_zerotrust.core.webhooks import covered

REGISTRATION = "/apis/admissionregistration.k8s.io/v1"

Hooks = list[tuple[str, Mapping[str, Any]]]
"""Entries of all ValidatingWebhookConfigurations, each with the name of its configuration."""


@dataclass(slots=True)
class Seen:
    """What was seen of one engine."""

    weak: list[Weakness] = field(default_factory=list)
    unclear: list[str] = field(default_factory=list)
    observed: list[str] = field(default_factory=list)
    controls: list[str] = field(default_factory=list)


def read_hooks(api: Api) -> tuple[Hooks, str | None]:
    """Every validating webhook with the name of its configuration; or why they are unread."""
    response = api.request("GET", f"{REGISTRATION}/validatingwebhookconfigurations")
    items = response.body.get("items")
    if not response.ok or not isinstance(items, list):
        return [], response.message
    hooks = [
        (str(item["metadata"]["name"]), webhook)
        for item in items
        for webhook in item.get("webhooks") or ()
    ]
    return hooks, None


def try_labels(
    api: Api,
    namespace: str,
    ways: Iterable[Switch],
    hooks: Hooks,
    seen: Seen,
    *,
    owner: str = "its",
) -> None:
    """Note for each way to make ``owner``'s selector look away whether somebody guards it."""
    for switch in ways:
        guard, answer = try_switch(api, namespace, switch)
        tried = f"a namespace {switch} (dry run on {namespace}): {answer}"
        if guard is Guard.NONE:
            seen.weak.append(of_switch(switch, namespace, owner))
            seen.observed.append(tried)
        elif guard is Guard.REFUSED:
            seen.controls.append(f"nobody is made to look away by {tried}")
            seen.weak += _of_guard(answer.webhook, switch, hooks)
        elif switch.key == GUARDED_BY_GATEKEEPER and registered(GUARD_OF_GATEKEEPER, hooks):
            seen.controls.append(
                f"label {switch.key} is guarded by webhook {GUARD_OF_GATEKEEPER}, by its "
                f"registration; it could not be tried: {answer}"
            )
            seen.weak += _of_guard(GUARD_OF_GATEKEEPER, switch, hooks)
        else:
            seen.unclear.append(
                f"{owner} namespaceSelector looks away from a namespace {switch}, and whether that "
                f"is guarded could not be tried: {answer} {answer.message[:160]}".rstrip()
            )


def registered(name: str, hooks: Hooks) -> bool:
    """True if a webhook with this name is asked about every change of a namespace."""
    return any(
        hook.get("name") == name and covered(hook.get("rules"), "namespaces", "UPDATE")
        for _, hook in hooks
    )


def _of_guard(name: str, switch: Switch, hooks: Hooks) -> Iterator[Weakness]:
    """A guard that is admitted past when it is down guards nothing."""
    for _, hook in hooks:
        if name and hook.get("name") == name and hook.get("failurePolicy", "Fail") != "Fail":
            yield Weakness(
                f"webhook {name}, which guards label {switch.key}, has failurePolicy "
                f"{hook['failurePolicy']}: while it is down the label may be changed",
                f"Set failurePolicy: Fail for webhook {name}.",
            )
