"""The fixture ``zt_mesh``: what a port is like from outside the mesh, and whom it answers."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from pytest_zerotrust.checks import Check
from pytest_zerotrust.core.intent import Flow, Port, Workload
from pytest_zerotrust.core.reachability import Expected
from pytest_zerotrust.core.verdict import Result, Verdict
from pytest_zerotrust.errors import Inconclusive
from pytest_zerotrust.facade import Facade, guarded_custom
from pytest_zerotrust.outcome import RESULTS, conclude, record

if TYPE_CHECKING:
    from pytest_zerotrust.mesh.custom import PortAnswer
    from pytest_zerotrust.mesh.wire_checks import MeshWireCheck, WireCheck


@dataclass(frozen=True, slots=True)
class MeshSentence:
    """``expect(target, port)``, waiting to hear what the port is like, or whom it answers."""

    mesh: Mesh
    target: Workload
    port: Port

    def is_strict(self) -> Result:
        """The port must refuse plaintext, by a proxy that demands mutual TLS of everybody."""
        __tracebackhide__ = True
        return self.mesh.expect_port(self, "ZT-MSH-001")

    def proves_its_identity(self) -> Result:
        """The port must demand a certificate, and prove the identity of its service account."""
        __tracebackhide__ = True
        return self.mesh.expect_port(self, "ZT-MSH-002")

    def answers(self, caller: Workload) -> Result:
        """A caller inside the mesh must be answered by the application."""
        __tracebackhide__ = True
        return self.mesh.expect_call(self, caller, Expected.ALLOWED)

    def refuses(self, caller: Workload) -> Result:
        """A caller inside the mesh must be refused, for its identity. Another caller that the
        intent allows must be answered, or nothing is shown."""
        __tracebackhide__ = True
        return self.mesh.expect_call(self, caller, Expected.DENIED)


class Mesh(Facade):
    """The fixture ``zt_mesh``."""

    def expect(self, target: Workload, port: int) -> MeshSentence:
        """Begin a sentence about a TCP port; a test that does not end it does not pass."""
        self._open(f"{target.name}:{port}")
        return MeshSentence(self, target, target.port(port))

    def ask(self, target: Workload, port: int) -> PortAnswer:
        """What a TCP port is like from outside the mesh. Raises nothing for what was seen.

        Look at ``answer.mode`` or ``answer.identity`` to assert; a test that only asks does not
        pass.
        """
        from pytest_zerotrust.mesh.custom import PortAnswer, about_port

        engine, asked = self._session.engines.mesh, target.port(port)
        result = guarded_custom(
            lambda: about_port(engine, target, asked, "ZT-MSH-001"), f"{target.name}:{asked}"
        )
        return PortAnswer(result=result, on_read=self._read)

    def _read(self, answer: PortAnswer) -> None:
        """A clear answer was looked at: from here on the test's own assertions decide."""
        where = answer.result.subject
        headline = f"custom {where} was looked at, asked by the test"
        if not any(r.headline == headline for r in self._item.stash.get(RESULTS, [])):
            record(
                self._item,
                replace(answer.result, verdict=Verdict.HOLDS, headline=headline, remedy=""),
            )

    def expect_port(self, sentence: MeshSentence, control: str) -> Result:
        """Verify one control on a port; see ``MeshSentence``."""
        __tracebackhide__ = True
        from pytest_zerotrust.mesh.custom import about_port

        target, port = sentence.target, sentence.port
        self._end(f"{target.name}:{port.number}")
        engine = self._session.engines.mesh
        result = guarded_custom(
            lambda: about_port(engine, target, port, control), f"{target.name}:{port}"
        )
        conclude(self._item, result)
        return result

    def expect_call(self, sentence: MeshSentence, caller: Workload, expected: Expected) -> Result:
        """Verify one call from inside the mesh; see ``MeshSentence``."""
        __tracebackhide__ = True
        from pytest_zerotrust.mesh.custom import answered, refused
        from pytest_zerotrust.network.checks import FlowCheck, Via
        from pytest_zerotrust.network.custom import with_workloads

        target, port = sentence.target, sentence.port
        self._end(f"{target.name}:{port.number}")
        engines, ends = self._session.engines, (caller, target)

        def network() -> Result:
            flow = Flow(caller.key, target.key, port)
            plain = FlowCheck(
                control="custom", flow=flow, via=Via.POD_IP, expected=Expected.ALLOWED
            )
            return with_workloads(engines.network, ends, plain)

        judge = answered if expected is Expected.ALLOWED else refused
        words = f"{caller.name} -> {target.name}:{port}"
        result = guarded_custom(lambda: judge(engines.mesh, ends, port, network), words)
        conclude(self._item, result)
        return result

    def _result(self, check: Check) -> Result:
        from pytest_zerotrust.mesh.checks import Check as MeshCheck
        from pytest_zerotrust.mesh.checks import (
            EnrolCheck,
            HeaderCheck,
            ImpostorCheck,
            PortCheck,
            SweepCheck,
        )
        from pytest_zerotrust.mesh.judge import judge_port
        from pytest_zerotrust.mesh.judge_call import judge_call
        from pytest_zerotrust.mesh.judge_header import judge_header
        from pytest_zerotrust.mesh.judge_impostor import judge_impostor
        from pytest_zerotrust.mesh.judge_pods import judge_enrol, judge_other_ports
        from pytest_zerotrust.mesh.wire_checks import MeshWireCheck, WireCheck
        from pytest_zerotrust.network.checks import Via, flow_check
        from pytest_zerotrust.network.judge import Judge

        engines = self._session.engines
        if isinstance(check, (WireCheck, MeshWireCheck)):
            return self._wire(check)
        if isinstance(check, EnrolCheck):
            return judge_enrol(engines.api, self._session.intent, check)
        if not isinstance(check, MeshCheck):
            raise Inconclusive(f"{check.id} is no mesh check")
        snapshot = engines.mesh.snapshot(check, self._session.mesh_demand)
        if isinstance(check, PortCheck):
            return judge_port(engines.mesh, snapshot, check)
        if isinstance(check, SweepCheck):
            return judge_other_ports(engines.mesh, snapshot, check)
        if isinstance(check, ImpostorCheck):
            return judge_impostor(engines.mesh, snapshot, check)
        if isinstance(check, HeaderCheck):
            return judge_header(engines.mesh, snapshot, check)

        def network() -> Result:
            plain = flow_check(self._session.intent, check.flow, Via.POD_IP)
            demand = self._session.network_demand
            return Judge(engines.network, engines.network.snapshot(plain, demand)).flow(plain)

        return judge_call(engines.mesh, snapshot, check, network)

    def _wire(self, check: WireCheck | MeshWireCheck) -> Result:
        from pytest_zerotrust.mesh.judge_wire import judge_wire

        engine, demand = self._session.engines.wire, self._session.wire_demand
        return judge_wire(engine, check, engine.snapshot(check, demand) if engine.allowed else None)
