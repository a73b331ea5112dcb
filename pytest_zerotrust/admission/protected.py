"""What must be protected so that pods go on being rejected: the levers of the engine that does it.

Which engine that is comes from its answer to a privileged pod, as everywhere in this package.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from pytest_zerotrust.admission.gatekeeper import CONFIG, CONSTRAINTS, read_constraints
from pytest_zerotrust.admission.labels import Guard, try_switch
from pytest_zerotrust.admission.sight import REGISTRATION, Hooks, read_hooks, registered
from pytest_zerotrust.cluster.api import Api
from pytest_zerotrust.core.admission import Answer
from pytest_zerotrust.core.escapes import (
    GUARD_OF_GATEKEEPER,
    GUARDED_BY_GATEKEEPER,
    Switch,
    switches,
)
from pytest_zerotrust.core.levers import (
    CHANGES,
    WRITES,
    Lever,
    Need,
    lever,
    workload_levers,
)
from pytest_zerotrust.core.validating_policies import bindings_of
from pytest_zerotrust.core.webhooks import could_concern

_REGISTRATION = "admissionregistration.k8s.io"
_CRDS = "apiextensions.k8s.io"
_TEMPLATES = "templates.gatekeeper.sh"
_LOWERED = Switch("pod-security.kubernetes.io/enforce", "privileged")


@dataclass(slots=True)
class Protected:
    """What rejects pods in a namespace. ``doubtful`` levers may be guarded by another policy;
    ``gaps`` say which levers are not known."""

    who: str
    levers: list[Lever] = field(default_factory=list)
    doubtful: list[Lever] = field(default_factory=list)
    gaps: list[str] = field(default_factory=list)
    doubts: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def find_protected(
    api: Api, namespace: str, by: str, policies: tuple[str, ...], webhook: str
) -> Protected:
    """The levers of what answered. Raises ApiUnreachable."""
    hooks, unread = read_hooks(api)
    finder = _Finder(api, namespace, hooks)
    if by == Answer.POD_SECURITY.value:
        found = Protected(who="Pod Security")
        finder.labels(found, (_LOWERED,))
    elif by == Answer.VALIDATING_ADMISSION_POLICY.value:
        found = Protected(who=f"ValidatingAdmissionPolicy {policies[0]}")
        finder.policy(found, policies[0], policies[1] if len(policies) > 1 else "")
    else:
        found = Protected(who=f"webhook {webhook}")
        finder.webhook(found, webhook)
        if by == Answer.GATEKEEPER.value:
            finder.gatekeeper(found, policies)
        elif by != Answer.OPA.value:
            found.gaps.append(f"where the rules of {by} are kept is not known")
    if unread is not None:
        found.gaps.append(f"the webhooks could not be read: {unread}")
    return found


@dataclass(frozen=True, slots=True)
class _Finder:
    """Finds levers, and notes them."""

    api: Api
    namespace: str
    hooks: Hooks

    def policy(self, found: Protected, name: str, bound: str) -> None:
        """A ValidatingAdmissionPolicy, the binding that denied, and their parameters."""
        kinds = ("ValidatingAdmissionPolicy", "ValidatingAdmissionPolicyBinding")
        resources = ("validatingadmissionpolicies", "validatingadmissionpolicybindings")
        for kind, resource, item in zip(kinds, resources, (name, bound), strict=True):
            found.levers.append(lever(kind, _REGISTRATION, resource, item))
        policy = self.api.request("GET", f"{REGISTRATION}/{resources[0]}/{name}")
        spec = policy.body.get("spec")
        listed = self.api.request("GET", f"{REGISTRATION}/{resources[1]}")
        bindings = bindings_of(name, listed.body.get("items") or ())
        if not policy.ok or not isinstance(spec, Mapping) or bound not in bindings:
            found.gaps.append(f"{found.who} or its binding {bound} could not be read")
            return
        binding = bindings[bound]
        self.parameters(found, spec.get("paramKind"), binding.get("paramRef"))
        for match in (spec.get("matchConstraints"), binding.get("matchResources")):
            self.labels(found, switches((match or {}).get("namespaceSelector")))

    def parameters(
        self, found: Protected, kind: Mapping[str, Any] | None, ref: Mapping[str, Any] | None
    ) -> None:
        """The objects whose values a ValidatingAdmissionPolicy compares with."""
        if not kind or not ref:
            return
        group, _, version = str(kind["apiVersion"]).rpartition("/")
        path = f"/apis/{group}/{version}" if group else f"/api/{version}"
        listed = self.api.request("GET", path).body.get("resources") or ()
        for resource in listed:
            if resource.get("kind") == kind["kind"] and "/" not in str(resource["name"]):
                break
        else:
            found.gaps.append(f"the kind of its parameters, {kind['kind']}, is not known")
            return
        name = str(ref.get("name") or "")
        need = Need(
            verbs=(*CHANGES, *(() if name else ("create",))),
            group=group,
            resource=str(resource["name"]),
            names=(name,),
            namespace=str(ref.get("namespace") or self.namespace) if resource["namespaced"] else "",
            whatever_name=not name,
        )
        text = f"{{verbs}} {kind['kind']} {name or 'that a selector finds'}, a parameter of it"
        found.levers.append(Lever(text=text, needs=(need,)))

    def webhook(self, found: Protected, name: str) -> None:
        """The configurations with a webhook, and what serves it."""
        entries = [(config, hook) for config, hook in self.hooks if hook.get("name") == name]
        if not entries:
            found.gaps.append(f"no configuration has {found.who}")
        kind, resource = "ValidatingWebhookConfiguration", "validatingwebhookconfigurations"
        for config, hook in entries:
            found.levers.append(lever(kind, _REGISTRATION, resource, config))
            self.labels(found, switches(hook.get("namespaceSelector")))
            service = (hook.get("clientConfig") or {}).get("service")
            if service:
                self.server(found, str(service["namespace"]), str(service["name"]))
            else:
                found.gaps.append(f"{found.who} is served from outside the cluster")

    def server(self, found: Protected, namespace: str, service: str) -> None:
        """The Service of an engine and what runs in its namespace."""
        found.levers += [
            lever("Service", "", "services", service, namespace=namespace),
            lever(
                "Namespace",
                "",
                "namespaces",
                namespace,
                namespace=namespace,
                verbs=("delete", "deletecollection"),
            ),
        ]
        what = f"where {found.who} is served"
        for group, resource, verbs in (
            ("discovery.k8s.io", "endpointslices", WRITES),
            ("", "endpoints", WRITES),
            ("", "configmaps", (*WRITES, "delete", "deletecollection")),
        ):
            if resource == "configmaps" and not found.who.endswith(".openpolicyagent.org"):
                continue  # only OPA has its rules there
            need = Need(
                verbs=verbs, group=group, resource=resource, namespace=namespace, whatever_name=True
            )
            text = f"{{verbs}} {resource} in namespace {namespace}, {what}"
            found.levers.append(Lever(text=text, needs=(need,)))
        found.levers += workload_levers(namespace, what)
        config = Need(
            verbs=WRITES, group=CONFIG, resource="configs", names=("config",), namespace=namespace
        )
        text = f"{{verbs}} Config {namespace}/config, which exempts namespaces"
        if found.who.endswith(".gatekeeper.sh"):
            found.levers.append(Lever(text=text, needs=(config,)))

    def gatekeeper(self, found: Protected, names: tuple[str, ...]) -> None:
        """The constraints that rejected, their templates and their kinds."""
        reading = read_constraints(self.api, names)
        if reading.gap:
            found.gaps.append(f"{reading.gap}, could not be read")
        kinds = {item.plural: item.kind for item in reading.found}
        for item in reading.found:
            found.levers.append(lever(item.kind, CONSTRAINTS, item.plural, item.name))
            self.labels(found, item.switches)
        for kind in kinds.values():
            found.levers.append(
                lever("ConstraintTemplate", _TEMPLATES, "constrainttemplates", kind.lower())
            )
        for crd in (
            *(f"{plural}.{CONSTRAINTS}" for plural in kinds),
            f"constrainttemplates.{_TEMPLATES}",
        ):
            found.levers.append(
                lever("CustomResourceDefinition", _CRDS, "customresourcedefinitions", crd)
            )

    def labels(self, found: Protected, ways: Iterable[Switch]) -> None:
        """Labels of the namespace by which an engine looks away, unless a policy guards them."""
        for switch in ways:
            guard, answer = try_switch(self.api, self.namespace, switch)
            own = guard is Guard.UNKNOWN and switch.key == GUARDED_BY_GATEKEEPER
            by = GUARD_OF_GATEKEEPER if own else answer.webhook
            if guard is Guard.REFUSED or (own and registered(by, self.hooks)):
                found.notes.append(f"a policy guards a namespace {switch}: {answer}")
                kind, resource = "ValidatingWebhookConfiguration", "validatingwebhookconfigurations"
                for config, hook in self.hooks:
                    if hook.get("name") == by:
                        found.levers.append(lever(kind, _REGISTRATION, resource, config))
                if by == GUARD_OF_GATEKEEPER:
                    # It lets nobody through, whoever asks.
                    continue
                # A guard may let others through than us, and may be another one's to delete.
                found.doubtful += label_levers(self.namespace, switch)
                found.doubts.append(
                    f"a policy refused us a namespace {switch}; whom it lets through, and who may "
                    f"change it, was not tried"
                )
                continue
            if guard is Guard.NONE or self.nothing_guards():
                found.levers += label_levers(self.namespace, switch)
            else:
                found.doubtful += label_levers(self.namespace, switch)
                found.doubts.append(
                    f"whether a policy guards a namespace {switch} could not be tried: {answer}"
                )

    def nothing_guards(self) -> bool:
        """True if no policy looks at changes of namespaces."""
        if any(could_concern(hook.get("rules"), "namespaces", "UPDATE") for _, hook in self.hooks):
            return False
        listed = self.api.request("GET", f"{REGISTRATION}/validatingadmissionpolicybindings")
        return listed.ok and listed.body.get("items") == []


def label_levers(namespace: str, switch: Switch) -> list[Lever]:
    """Every request by which a label of a namespace can be changed, subresources included."""
    found = []
    for resource, verbs in (
        ("namespaces", ("update", "patch")),
        ("namespaces/status", ("update", "patch")),
        ("namespaces/finalize", ("update",)),
    ):
        need = Need(
            verbs=verbs, group="", resource=resource, names=(namespace,), namespace=namespace
        )
        text = f"{{verbs}} {resource} {namespace}, so that it is a namespace {switch}"
        found.append(Lever(text=text, needs=(need,)))
    return found
