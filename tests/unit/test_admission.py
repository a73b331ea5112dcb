"""Who turned a pod away is told by the shape of the answer, never by the words of a policy."""

from __future__ import annotations

import itertools

import pytest

from pytest_zerotrust.core.admission import (
    POLICY_ENGINES,
    Answer,
    Attribution,
    PairFacts,
    attribute,
    judge_pair,
)
from pytest_zerotrust.core.verdict import Verdict

POD = 'pods "p" is forbidden: '
GATEKEEPER = 'admission webhook "validation.gatekeeper.sh" denied the request: '
KYVERNO = 'admission webhook "validate.kyverno.svc-fail" denied the request: '
OPA = 'admission webhook "webhook.openpolicyagent.org" denied the request: '
OTHER = 'admission webhook "policy.example.com" denied the request: '
BLOCKED = "\n\nresource Pod/ns/p was blocked due to the following policies \n\n"
LEVEL = 'violates PodSecurity "restricted:latest": '
DOWN = 'Internal error occurred: failed calling webhook "validation.gatekeeper.sh": '

# (HTTP status, message): who answered, and which policies are named
SHAPES: list[tuple[int, str, Answer, tuple[str, ...]]] = [
    (201, "", Answer.ADMITTED, ()),
    (200, "", Answer.ADMITTED, ()),
    (
        403,
        POD + LEVEL + 'privileged (container "c" must not set securityContext.privileged=true)',
        Answer.POD_SECURITY,
        ("restricted:latest",),
    ),
    (403, GATEKEEPER + "[no-root] container c may run as root", Answer.GATEKEEPER, ("no-root",)),
    (403, GATEKEEPER + "[a] x\n[b] y\n[a] z", Answer.GATEKEEPER, ("a", "b")),
    (403, GATEKEEPER + "no constraint is named", Answer.UNKNOWN, ()),
    (
        403,
        'admission webhook "check-ignore-label.gatekeeper.sh" denied the request: Only exempt '
        "namespace can have the admission.gatekeeper.sh/ignore label",
        Answer.UNKNOWN,
        (),
    ),
    (
        422,
        POD + "ValidatingAdmissionPolicy 'P' with binding 'B' denied request: no",
        Answer.VALIDATING_ADMISSION_POLICY,
        ("P", "B"),
    ),
    (
        403,
        POD + "ValidatingAdmissionPolicy 'P' with binding 'B' denied request: no",
        Answer.VALIDATING_ADMISSION_POLICY,
        ("P", "B"),
    ),
    (400, KYVERNO + BLOCKED + "no-root:\n  rule-1: 'x'\n", Answer.KYVERNO, ("no-root",)),
    (
        400,
        'admission webhook "vpol.validate.kyverno.svc-fail" denied the request: Policy P failed: x',
        Answer.KYVERNO,
        (),
    ),
    (400, OPA + "privileged container c, image of c", Answer.OPA, ()),
    (
        400,
        'admission webhook "validating-webhook.openpolicyagent.org" denied the request: x',
        Answer.OPA,
        (),
    ),
    (
        400,
        'admission webhook "clusterwide-p.kubewarden.admission" denied the request: x',
        Answer.OTHER_WEBHOOK,
        (),
    ),
    (400, 'admission webhook "openpolicyagent.org" denied the request: x', Answer.OPA, ()),
    (400, 'admission webhook "w" denied the request without explanation', Answer.OTHER_WEBHOOK, ()),
    (403, 'pods is forbidden: User "u" cannot create resource "pods"', Answer.RBAC, ()),
    (401, "Unauthorized", Answer.RBAC, ()),
    (
        403,
        POD + 'error looking up service account ns/default: serviceaccount "default" not found',
        Answer.SERVICE_ACCOUNT,
        (),
    ),
    (403, POD + "exceeded quota: q, requested: pods=1, used: pods=0", Answer.QUOTA, ()),
    (403, POD + "failed quota: q: must specify limits.cpu", Answer.QUOTA, ()),
    (403, POD + "status unknown for quota: q, resources: pods", Answer.QUOTA, ()),
    (403, POD + "insufficient quota to consume: pods", Answer.QUOTA, ()),
    (403, POD + "[maximum cpu usage per Container is 1, but limit is 2]", Answer.LIMIT_RANGE, ()),
    (
        422,
        'ingresses.networking.k8s.io "p" is forbidden: '
        "ValidatingAdmissionPolicy 'P' with binding 'B' denied request: no",
        Answer.VALIDATING_ADMISSION_POLICY,
        ("P", "B"),
    ),
    # A user may have any name; whose words it holds is not who answered.
    (
        403,
        'pods is forbidden: User "x is forbidden: exceeded quota: q" cannot create resource "pods"',
        Answer.RBAC,
        (),
    ),
    (
        403,
        POD + "unable to create new content in namespace ns because it is being terminated",
        Answer.NAMESPACE,
        (),
    ),
    (404, 'namespaces "ns" not found', Answer.NAMESPACE, ()),
    (422, 'Pod "p" is invalid: spec.containers[0].image: Required value', Answer.INVALID, ()),
    (400, 'Pod in version "v1" cannot be handled as a Pod: x', Answer.INVALID, ()),
    (400, 'strict decoding error: unknown field "spec.x"', Answer.INVALID, ()),
    (400, 'admission webhook "w" does not support dry run', Answer.DRY_RUN_UNSUPPORTED, ()),
    (400, "dryRun is not supported", Answer.DRY_RUN_UNSUPPORTED, ()),
    (500, DOWN + "failed to call webhook: connection refused", Answer.WEBHOOK_UNAVAILABLE, ()),
    (500, DOWN + "context deadline exceeded", Answer.WEBHOOK_UNAVAILABLE, ()),
    (429, "too many requests", Answer.THROTTLED, ()),
    (409, 'pods "p" already exists', Answer.CONFLICT, ()),
    (
        403,
        POD + "image policy webhook backend denied one or more images: x",
        Answer.UNKNOWN,
        (),
    ),
    (
        403,
        POD + "unable to validate against any security context constraint: []",
        Answer.UNKNOWN,
        (),
    ),
    (403, POD + 'pod does not have "kubernetes.io/config.mirror" annotation', Answer.UNKNOWN, ()),
    (403, POD + 'pod rejected: RuntimeClass "x" not found', Answer.UNKNOWN, ()),
    (400, "pod p does not have a host assigned", Answer.UNKNOWN, ()),
    (403, "", Answer.UNKNOWN, ()),
    (500, POD + "exceeded quota: q", Answer.UNKNOWN, ()),
    (400, 'pods is forbidden: User "u" cannot create resource "pods"', Answer.UNKNOWN, ()),
    (403, DOWN + "connection refused", Answer.UNKNOWN, ()),
    (500, "", Answer.UNKNOWN, ()),
    (503, "upstream down", Answer.UNKNOWN, ()),
    (302, "", Answer.UNKNOWN, ()),
    (413, "request entity too large", Answer.UNKNOWN, ()),
]


@pytest.mark.parametrize(("status", "message", "answer", "policies"), SHAPES)
def test_each_shape_of_an_answer_is_attributed_to_who_gave_it(status, message, answer, policies):
    found = attribute(status, {"message": message}, ["careful"])
    assert (found.answer, found.policies) == (answer, policies)
    assert (found.status, found.message, found.warnings) == (status, message, ("careful",))


# Policies may say whatever they like, other engines' phrases included.
PHRASES = [
    "exceeded quota: q, requested: pods=1",
    POD + "exceeded quota: q, requested: pods=1",
    LEVEL + "privileged",
    POD + LEVEL + "privileged",
    POD + "ValidatingAdmissionPolicy 'P' with binding 'B' denied request: no",
    'pods is forbidden: User "u" cannot create resource "pods"',
    GATEKEEPER + "[no-root] x",
    KYVERNO + BLOCKED + "p:\n",
    'failed calling webhook "x": context deadline exceeded',
    "error looking up service account ns/default",
    'admission webhook "w" does not support dry run',
    "because it is being terminated",
    'Pod "p" is invalid: spec',
    "strict decoding error",
    "",
    "\n",
]
ENGINES = [
    (403, GATEKEEPER + "[c] {}", Answer.GATEKEEPER),
    (400, OPA + "{}", Answer.OPA),
    (403, OTHER + "{}", Answer.OTHER_WEBHOOK),
    (400, KYVERNO + BLOCKED + "p:\n  r: '{}'", Answer.KYVERNO),
    (403, POD + LEVEL + "x ({})", Answer.POD_SECURITY),
    (
        422,
        POD + "ValidatingAdmissionPolicy 'P' with binding 'B' denied request: {}",
        Answer.VALIDATING_ADMISSION_POLICY,
    ),
]


@pytest.mark.parametrize("phrase", PHRASES)
@pytest.mark.parametrize(("status", "frame", "answer"), ENGINES)
def test_an_engine_that_quotes_another_ones_words_stays_itself(status, frame, answer, phrase):
    assert attribute(status, {"message": frame.replace("{}", phrase)}).answer is answer


NOT_ENGINES = [
    (403, 'pods is forbidden: User "{}" cannot create resource "pods"'),
    (403, POD + "exceeded quota: {}, requested: pods=1"),
    (500, DOWN + "{}"),
    (422, 'Pod "p" is invalid: spec.containers[0].image: Invalid value: "{}"'),
    (400, 'strict decoding error: unknown field "{}"'),
    (403, POD + "image policy webhook backend denied one or more images: {}"),
    (429, "too many requests: {}"),
]
# The message of Pod Security and of a ValidatingAdmissionPolicy begins with the object's name.
FORGERIES = [
    (status, frame, phrase)
    for status, frame in NOT_ENGINES
    for phrase in (PHRASES[3], PHRASES[4])
    if status == 403 or phrase == PHRASES[4]
]
QUOTES = [
    (status, frame, phrase)
    for status, frame in NOT_ENGINES
    for phrase in PHRASES
    if (status, frame, phrase) not in FORGERIES
]


@pytest.mark.parametrize(("status", "frame", "phrase"), QUOTES)
def test_what_is_not_a_policy_does_not_become_one_by_quoting_it(status, frame, phrase):
    found = attribute(status, {"message": frame.replace("{}", phrase)})
    assert found.answer not in POLICY_ENGINES


@pytest.mark.parametrize(("status", "frame", "phrase"), FORGERIES)
def test_what_is_not_a_policy_does_not_become_one_by_quoting_a_whole_message(status, frame, phrase):
    found = attribute(status, {"message": frame.replace("{}", phrase)})
    assert found.answer not in POLICY_ENGINES


@pytest.mark.parametrize(
    ("status", "message"),
    [
        (500, GATEKEEPER + "unable to review: context deadline exceeded"),
        (500, OPA + "internal error"),
        (503, OTHER + "not ready"),
        (429, OTHER + "too many requests"),
    ],
)
def test_a_webhook_that_answers_with_its_own_failure_is_no_policy(status, message):
    assert attribute(status, {"message": message}).answer not in POLICY_ENGINES


@pytest.mark.parametrize("message", [None, 7, [], {}, "x" * 100_000, "\x00\x1b[2J", "[" * 5000])
@pytest.mark.parametrize("status", [0, 400, 403, 422, 500])
def test_an_odd_message_is_read_without_a_crash_and_is_no_policy(status, message):
    assert attribute(status, {"message": message}).answer not in POLICY_ENGINES


def test_an_answer_without_a_message_is_no_policy():
    assert attribute(403, {}).answer is Answer.UNKNOWN


def pair(good: Answer, bad: Answer, *, neutralised: bool = False, engine: str = "any") -> PairFacts:
    return PairFacts(
        good=Attribution(answer=good),
        bad=Attribution(answer=bad),
        neutralised=neutralised,
        engine=engine,
    )


NAMED = ("gatekeeper", "opa", "kyverno", "pod-security", "validating-admission-policy")


@pytest.mark.parametrize("good", Answer)
def test_a_rejection_counts_only_beside_a_compliant_twin_that_was_admitted(good):
    for bad, neutralised, engine in itertools.product(Answer, (True, False), ("any", *NAMED)):
        facts = pair(good, bad, neutralised=neutralised, engine=engine)
        conclusion = judge_pair(facts)
        if good is not Answer.ADMITTED:
            expected = (Verdict.INCONCLUSIVE, "compliant-twin-rejected")
        elif bad is Answer.ADMITTED:
            expected = (
                (Verdict.INCONCLUSIVE, "neutralised") if neutralised else (Verdict.VIOLATED, "")
            )
        elif bad not in POLICY_ENGINES:
            expected = (Verdict.INCONCLUSIVE, "not-a-policy")
        elif engine not in ("any", bad.value):
            expected = (Verdict.INCONCLUSIVE, "masked")
        else:
            expected = (Verdict.HOLDS, "")
        assert (conclusion.verdict, conclusion.reason) == expected


def test_every_engine_that_an_intent_may_name_is_one_of_the_answers():
    assert set(NAMED) <= {answer.value for answer in POLICY_ENGINES}


def test_a_masked_engine_is_named_with_the_one_that_masks_it():
    text = judge_pair(pair(Answer.ADMITTED, Answer.POD_SECURITY, engine="gatekeeper")).text
    assert "pod-security" in text
    assert "gatekeeper" in text


def test_an_opa_that_does_not_answer_is_told_with_a_common_cause():
    def told(hook: str, answer: Answer = Answer.WEBHOOK_UNAVAILABLE) -> str:
        down = Attribution(answer=answer, webhook=hook)
        return judge_pair(PairFacts(good=down, bad=down)).text

    assert "old Rego syntax" in told("validating-webhook.openpolicyagent.org")
    assert "old Rego syntax" not in told("validation.gatekeeper.sh")
    assert "old Rego syntax" not in told("validating-webhook.openpolicyagent.org", Answer.OPA)


def test_an_attribution_reads_as_engine_policy_webhook_and_status():
    found = attribute(403, {"message": GATEKEEPER + "[no-root] x"})
    assert str(found) == "gatekeeper [no-root] by webhook validation.gatekeeper.sh (HTTP 403)"
