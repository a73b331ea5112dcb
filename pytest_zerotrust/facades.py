"""What the fixtures give to a test: sentences about workloads, and checks of the shipped suite."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from pytest_zerotrust.checks import Check
from pytest_zerotrust.core.admission_diff import ABSENT
from pytest_zerotrust.core.intent import Flow, Port, Workload
from pytest_zerotrust.core.reachability import Expected
from pytest_zerotrust.core.verdict import Result, Verdict
from pytest_zerotrust.errors import Inconclusive, ZeroTrustError
from pytest_zerotrust.facade import Facade, fail, guarded
from pytest_zerotrust.facade_mesh import Mesh, MeshSentence
from pytest_zerotrust.outcome import RESULTS, conclude, record

__all__ = ["Admission", "Mesh", "MeshSentence", "Network", "Sentence"]

if TYPE_CHECKING:
    from pytest_zerotrust.admission.corpus.model import AdmissionCase
    from pytest_zerotrust.network.checks import FlowCheck
    from pytest_zerotrust.network.matrix import Answer, Matrix


@dataclass(frozen=True, slots=True)
class Sentence:
    """``expect(source)``, waiting to hear what the source reaches or cannot reach."""

    network: Network
    source: Workload

    def reaches(self, target: Workload, port: int, protocol: str = "TCP") -> Result:
        """The source must get an answer from the target's listener on ``port``."""
        __tracebackhide__ = True
        return self.network.expect_flow(self, target, Port(port, protocol), Expected.ALLOWED)

    def cannot_reach(self, target: Workload, port: int, protocol: str = "TCP") -> Result:
        """The source must be kept from the target's port, by nothing but a control."""
        __tracebackhide__ = True
        return self.network.expect_flow(self, target, Port(port, protocol), Expected.DENIED)


class Network(Facade):
    """The fixture ``zt_network``."""

    def expect(self, source: Workload) -> Sentence:
        """Begin a sentence about a source; a test that does not end it does not pass."""
        self._open(source.name)
        return Sentence(self, source)

    def ask(self, source: Workload, target: Workload, port: int, protocol: str = "TCP") -> Answer:
        """What becomes of one flow, by pod IP. Raises nothing for what was seen.

        Look at ``answer.reached`` to assert; a test that only asks does not pass.
        """
        from pytest_zerotrust.network.matrix import question

        asked = target.port(port, protocol)
        check = question(self._session.intent, source, target, asked)
        return self._answers([(source, target, check)])[0]

    def matrix(
        self, workloads: Iterable[Workload] | None = None, port: int | None = None
    ) -> Matrix:
        """What becomes of every flow between some workloads (default: all of the intent), to one
        TCP port or to each declared port. One batch, by pod IP.

        End with ``matrix.expect(...)``, or look at the answers; a test that only asks does not
        pass.
        """
        from pytest_zerotrust.network.matrix import Matrix, questions

        intent = self._session.intent
        ends = list(intent.workloads.values()) if workloads is None else list(workloads)
        asked = questions(intent, ends, Port(port) if port is not None else None)

        def finish(result: Result) -> None:
            conclude(self._item, result)

        return Matrix(answers=tuple(self._answers(asked)), conclude=finish)

    def _answers(self, asked: Sequence[tuple[Workload, Workload, FlowCheck]]) -> list[Answer]:
        from pytest_zerotrust.network.custom import all_with_workloads
        from pytest_zerotrust.network.matrix import Answer

        try:
            results = all_with_workloads(self._session.engines.network, asked)
        except (ZeroTrustError, OSError) as error:
            failed = error
            results = [guarded(lambda: fail(failed), check) for _, _, check in asked]
        return [
            Answer(
                source=source.key,
                target=target.key,
                port=check.flow.port,
                expected=check.expected,
                result=result,
                on_read=self._read,
            )
            for (source, target, check), result in zip(asked, results, strict=True)
        ]

    def _read(self, answer: Answer) -> None:
        """A clear answer was looked at: from here on the test's own assertions decide."""
        result = replace(
            answer.result,
            verdict=Verdict.HOLDS,
            headline=f"custom {answer.flow} {answer.reach.value}, asked by the test",
            remedy="",
        )
        known = self._item.stash.get(RESULTS, [])
        if not any(r.headline == result.headline for r in known):
            record(self._item, result)

    def expect_flow(
        self, sentence: Sentence, target: Workload, port: Port, expected: Expected
    ) -> Result:
        """Verify a single flow by pod IP; see ``Sentence``."""
        __tracebackhide__ = True
        from pytest_zerotrust.network.checks import FlowCheck, Via

        self._end(sentence.source.name)
        flow = Flow(sentence.source.key, target.key, target.port(port.number, port.protocol))
        check = FlowCheck(control="custom", flow=flow, via=Via.POD_IP, expected=expected)
        result = guarded(lambda: self._custom(check, sentence.source, target), check)
        conclude(self._item, result)
        return result

    def _custom(self, check: FlowCheck, *ends: Workload) -> Result:
        from pytest_zerotrust.network.custom import with_workloads

        return with_workloads(self._session.engines.network, ends, check)

    def _result(self, check: Check) -> Result:
        from pytest_zerotrust.network.checks import Check as NetworkCheck
        from pytest_zerotrust.network.coverage import CoverageCheck, verify_coverage
        from pytest_zerotrust.network.inventory import AlikeCheck, NamedCheck, judge_inventory
        from pytest_zerotrust.network.judge import Judge

        if isinstance(check, CoverageCheck):
            return verify_coverage(self._session.engines.api, check)
        if isinstance(check, (AlikeCheck, NamedCheck)):
            return judge_inventory(self._session.engines.api, self._session.intent, check)
        if not isinstance(check, NetworkCheck):
            raise Inconclusive(f"{check.id} is no network check")
        engine = self._session.engines.network
        return Judge(engine, engine.snapshot(check, self._session.network_demand)).of(check)


class Admission(Facade):
    """The fixture ``zt_admission``."""

    def rejects(
        self,
        manifest: Mapping[str, Any],
        *,
        because: str,
        instead: Any = ABSENT,
        engine: str = "any",
        policy: str = "",
    ) -> Result:
        """A policy must reject the manifest because of one field, like ``spec.hostNetwork``.

        The same manifest with ``instead`` in that field (by default: without it) must be admitted.
        ``engine`` and ``policy`` narrow down who must reject. Nothing is stored: all are dry runs.
        Where the template of a workload controller passes, the pods that come from it decide.
        """
        __tracebackhide__ = True
        from pytest_zerotrust.admission.custom import rejection

        trial = rejection(manifest, because=because, instead=instead, engine=engine, policy=policy)
        (result,) = self._session.engines.admission.try_all([trial])
        conclude(self._item, result)
        return result

    def admits(self, manifest: Mapping[str, Any]) -> Result:
        """The manifest must be admitted, and so must the pods that come from it; all are dry runs.

        What a mutation made of the given fields is told in the result's ``observed``.
        """
        __tracebackhide__ = True
        from pytest_zerotrust.admission.custom import admission

        result = admission(self._session.engines.admission, manifest)
        conclude(self._item, result)
        return result

    def rejects_case(self, case: AdmissionCase, namespace: str) -> Result:
        """A case of your own must be rejected in a namespace, and its twin admitted."""
        __tracebackhide__ = True
        from pytest_zerotrust.admission.custom import check_of_case

        declared = self._session.intent.admission
        if declared is None:
            raise Inconclusive("rejects_case() needs the intent's admission.registries")
        check = check_of_case(case, namespace, declared.registries[0], declared.engine)
        result = guarded(lambda: self._session.engines.admission.verify(check), check)
        conclude(self._item, result)
        return result

    def _result(self, check: Check) -> Result:
        from pytest_zerotrust.admission import protection
        from pytest_zerotrust.admission.corpus.select import CaseCheck
        from pytest_zerotrust.admission.failopen import FailClosedCheck, verify
        from pytest_zerotrust.admission.pairs import PairCheck

        declared = self._session.intent.admission
        if declared is None:
            raise Inconclusive(f"{check.id} is no admission check of this intent")
        engine = self._session.engines.admission
        if isinstance(check, protection.AdministratorsCheck):
            rejection, named = engine.verify(check.rejection), declared.administrators
            return protection.verify(engine.api, check, rejection, engine.rbac(), named)
        if isinstance(check, FailClosedCheck):
            rejection = engine.verify(check.rejection)
            result = verify(engine.api, check, rejection)
            if declared.administrators or rejection.verdict is not Verdict.HOLDS:
                return result
            lines = protection.report(engine.api, check.namespace, rejection, engine.rbac())
            return replace(result, observed=(*result.observed, *lines))
        if not isinstance(check, (PairCheck, CaseCheck)):
            raise Inconclusive(f"{check.id} is no admission check of this intent")
        return engine.verify(check, self._session.admission_demand(check))
