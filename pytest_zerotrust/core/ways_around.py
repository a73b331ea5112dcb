"""Ways to become somebody else, or to be given rights that one has not.

Source: kubernetes.io, "Role Based Access Control Good Practices", privilege escalation risks.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from pytest_zerotrust.core.holding import Holder, held
from pytest_zerotrust.core.levers import WORKLOADS, WRITES, Lever, Need
from pytest_zerotrust.core.rbac import Act, Grant, Rbac, Subject
from pytest_zerotrust.core.rbac_defaults import MASTERS, is_controller

_RBAC = "rbac.authorization.k8s.io"
_CERTIFICATES = "certificates.k8s.io"
_CLIENT_SIGNERS = ("kubernetes.io/kube-apiserver-client", "kubernetes.io/*")


def ways_around(
    rbac: Rbac, levers: Sequence[Lever], strong: set[Subject]
) -> Iterator[Iterator[Lever]]:
    """Ways to become one of the ``strong``, or to be given a lever; of each kind one is enough."""
    spaces = sorted({need.namespace for item in levers for need in item.needs} - {""})
    accounts = [subject for subject in sorted(strong) if subject.kind == "ServiceAccount"]
    yield _escalation(rbac, spaces)
    yield _binding(rbac, levers, spaces)
    yield _impersonation(rbac, sorted(strong, key=lambda subject: (subject != MASTERS, subject)))
    yield _tokens(accounts)
    yield _pods_of(accounts)
    yield iter((_CERTIFICATE, _KUBELETS))


_CERTIFICATE = Lever(
    text="approve client certificates for any name",
    needs=(
        Need(
            verbs=("update", "patch"),
            group=_CERTIFICATES,
            resource="certificatesigningrequests/approval",
            whatever_name=True,
        ),
        Need(verbs=("approve",), group=_CERTIFICATES, resource="signers", names=_CLIENT_SIGNERS),
    ),
)
_KUBELETS = Lever(
    text="{verbs} nodes/proxy, and so run commands in every pod by its kubelet",
    needs=(Need(verbs=("create", "get"), group="", resource="nodes/proxy", whatever_name=True),),
)


def _escalation(rbac: Rbac, spaces: Iterable[str]) -> Iterator[Lever]:
    for resource, namespace in (("clusterroles", ""), *(("roles", space) for space in spaces)):
        for name in ("", *_named(rbac, "escalate", resource)):
            which = f"{resource} {name}" if name else resource
            where = f" of namespace {namespace}" if namespace else ""
            yield Lever(
                text=f"write {which}{where} beyond its own rights (escalate)",
                needs=tuple(
                    Need(
                        verbs=verbs,
                        group=_RBAC,
                        resource=resource,
                        names=(name,),
                        namespace=namespace,
                    )
                    for verbs in (("escalate",), WRITES)
                ),
            )


def _named(rbac: Rbac, verb: str, resource: str) -> list[str]:
    """The names to which rules about a verb on a resource are limited."""
    wanted = Act(verb=verb, group=_RBAC, resource=resource)
    rules = {rule for rules in rbac.roles.values() for rule in rules if rule.names}
    return sorted(
        {n for rule in rules if rule.covers(wanted, whatever_name=True) for n in rule.names}
    )


def _binding(rbac: Rbac, levers: Sequence[Lever], spaces: Iterable[str]) -> Iterator[Lever]:
    for (kind, home, name), rules in sorted(rbac.roles.items()):
        for namespace in ("", *spaces) if kind == "ClusterRole" else (home,):
            role = f"{kind} {home}/{name}" if home else f"{kind} {name}"
            given = Grant(subject=MASTERS, binding="", role=role, namespace=namespace, rules=rules)
            if not any(held(Holder(MASTERS, (given,)), item) for item in levers):
                continue
            bindings = "rolebindings" if namespace else "clusterrolebindings"
            existing = {
                grant.binding.rpartition(" ")[2].rpartition("/")[2]
                for grant in rbac.grants
                if grant.role == role and grant.namespace == namespace
            }
            where = f" in namespace {namespace}" if namespace else ""
            yield Lever(
                text=f"bind {role}{where} to anybody",
                needs=(
                    Need(
                        verbs=("bind",),
                        group=_RBAC,
                        resource="roles" if home else "clusterroles",
                        names=(name,),
                        namespace=namespace,
                    ),
                    Need(
                        verbs=WRITES,
                        group=_RBAC,
                        resource=bindings,
                        names=("", *sorted(existing)),
                        namespace=namespace,
                    ),
                ),
            )


def _impersonation(rbac: Rbac, strong: Iterable[Subject]) -> Iterator[Lever]:
    anybody = Act(verb="impersonate", group="", resource="serviceaccounts")
    homes = {
        grant.namespace
        for grant in rbac.grants
        if any(rule.covers(anybody, whatever_name=True) for rule in grant.rules)
    }
    somebody = [
        Need(
            verbs=("impersonate",),
            group="",
            resource=resource,
            namespace=namespace,
            whatever_name=True,
        )
        for resource, namespace in (
            ("users", ""),
            *(("serviceaccounts", home) for home in sorted(homes)),
        )
    ]
    for subject in strong:
        need = Need(
            verbs=("impersonate",),
            group="",
            resource=f"{subject.kind.lower()}s",
            names=(subject.name,),
            namespace=subject.namespace,
        )
        if subject.kind == "Group":
            # Nobody is in a group without being a user.
            for other in somebody:
                yield Lever(text=f"impersonate {subject}", needs=(need, other))
        else:
            yield Lever(text=f"impersonate {subject}", needs=(need,))


def _tokens(accounts: Iterable[Subject]) -> Iterator[Lever]:
    for account in accounts:
        token = Need(
            verbs=("create",),
            group="",
            resource="serviceaccounts/token",
            names=(account.name,),
            namespace=account.namespace,
        )
        yield Lever(text=f"make tokens of {account}", needs=(token,))
    for namespace, account in _by_namespace(accounts).items():
        needs = tuple(
            Need(verbs=verbs, group="", resource="secrets", namespace=namespace, whatever_name=True)
            for verbs in (("create",), ("get", "list", "watch"))
        )
        yield Lever(text=f"make and read secrets with a token of {account}", needs=needs)


def _pods_of(accounts: Iterable[Subject]) -> Iterator[Lever]:
    for namespace, account in _by_namespace(accounts).items():
        for group, resource in WORKLOADS:
            # A pod that is there keeps its account; a template may be given another one.
            verbs = ("create",) if resource == "pods" else WRITES
            need = Need(
                verbs=verbs, group=group, resource=resource, namespace=namespace, whatever_name=True
            )
            text = f"{{verbs}} {resource} in namespace {namespace}, which may run as {account}"
            yield Lever(text=text, needs=(need,))
        if all(is_controller(a) for a in accounts if a.namespace == namespace):
            # Kubernetes' own controllers run in no pod that has their account.
            continue
        need = Need(
            verbs=("create", "get"),
            group="",
            resource="pods/exec",
            namespace=namespace,
            whatever_name=True,
        )
        text = f"run commands in pods of namespace {namespace}, such as those of {account}"
        yield Lever(text=text, needs=(need,))
        # A container that is added may mount what the pod has, its account's token too.
        added = Need(
            verbs=("update", "patch"),
            group="",
            resource="pods/ephemeralcontainers",
            namespace=namespace,
            whatever_name=True,
        )
        text = f"add containers to pods of namespace {namespace}, such as those of {account}"
        yield Lever(text=text, needs=(added,))


def _by_namespace(accounts: Iterable[Subject]) -> dict[str, Subject]:
    found: dict[str, Subject] = {}
    for account in accounts:
        found.setdefault(account.namespace, account)
    return found
