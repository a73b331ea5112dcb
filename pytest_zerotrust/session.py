"""One pytest session against one cluster: who connects when, and who deletes.

The controller (or the only process) connects, checks rights, discovers the workloads once and
deletes at the end. Workers of pytest-xdist get all of that handed over and never delete anything.
"""

from __future__ import annotations

import datetime
import getpass
import socket
import sys
import threading
from collections.abc import Iterator
from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Any

import pytest

from pytest_zerotrust.checks import Check
from pytest_zerotrust.cluster.access import Identity
from pytest_zerotrust.cluster.connection import ClusterOptions
from pytest_zerotrust.cluster.discovery import LiveWorkload
from pytest_zerotrust.core.intent import Intent, Waiver
from pytest_zerotrust.errors import UsageProblem
from pytest_zerotrust.fleet.run import Run, expiring, new_run
from pytest_zerotrust.intent.load import intent_from_text
from pytest_zerotrust.latecomers import HANDED
from pytest_zerotrust.needs import UNKNOWN, Selection
from pytest_zerotrust.report.collector import Collector
from pytest_zerotrust.settings import DEFAULT_INTENT, Settings, resolve
from pytest_zerotrust.signals import Interrupts
from pytest_zerotrust.suite import check_of, implied_checks, waived_checks
from pytest_zerotrust.usage import uses_zerotrust

if TYPE_CHECKING:
    from pytest_zerotrust.cluster.api import Api
    from pytest_zerotrust.early import EarlyEnd
    from pytest_zerotrust.engines import Engines

NO_CLUSTER = (
    "no cluster was named. Give --kubeconfig FILE (its current-context is used, or "
    "--kube-context NAME), or --in-cluster in a pod. The environment alone never chooses a cluster."
)


BASELINE_ONLY = (
    "baseline: pods and policies of the verifier's own show what this network does with policies. "
    "Nothing is shown about your workloads: who reaches whom, mutual TLS, admission. "
    "An intent file names them (--zt-draft writes a first one)."
)


class ZeroTrustSession:
    """State of the plugin in one process."""

    def __init__(self, config: pytest.Config, settings: Settings, intent: Intent) -> None:
        self._config = config
        self.settings = settings
        self.intent = intent
        self._intent_text = ""
        self._today = datetime.datetime.now(datetime.UTC).date()
        self.waived: dict[Waiver, frozenset[str]] = {}
        self.is_worker = hasattr(config, "workerinput")
        self.run: Run | None = None
        self.identity: Identity | None = None
        self.live: dict[str, LiveWorkload] = {}
        self.demand: list[Check] = []
        self.selection = UNKNOWN
        self._may_end_early = False
        self._early: EarlyEnd | None = None
        self._waiting: dict[str, Check] = {}
        self.collector = Collector(lambda: implied_checks(self.intent))
        self._engines: Engines | None = None
        self._lock = threading.Lock()
        self._interrupts = Interrupts()
        self._started = False
        self._late = False
        self.unusable = ""

    @classmethod
    def from_config(cls, config: pytest.Config) -> ZeroTrustSession:
        """Resolve options and read the intent file. Raises pytest.UsageError for bad input."""
        try:
            settings = resolve(config)
            given = getattr(config, "workerinput", {})
            handed = given.get("zerotrust") or given.get(HANDED)
            if handed is not None:
                # The controller's day, so that no worker of a run at midnight thinks otherwise.
                day = datetime.date.fromisoformat(handed["today"])
                text, name = handed["intent"], handed["intent_name"]
                session = cls(config, settings, intent_from_text(text, name, today=day))
                session._take_over(handed)
                session._late = HANDED in given
                cluster = handed["cluster"]
                if cluster is not None:
                    options = ClusterOptions(**cluster)
                    session.settings = replace(settings, cluster=options)
            else:
                text, name = _intent_text(settings)
                session = cls(config, settings, intent_from_text(text, name))
                session._intent_text = text
                session.waived = waived_checks(session.intent)
        except UsageProblem as error:
            raise pytest.UsageError(f"zerotrust: {error}") from error
        session.intent = _with_profile(session.intent, settings.admission_profile)
        if not session.is_worker:
            config.pluginmanager.register(session.collector, "zerotrust-collector")
        return session

    @property
    def _only_looks(self) -> bool:
        """True if no test will run, and no cluster is needed: --collect-only and the like."""
        option = self._config.option
        names = ("collectonly", "showfixtures", "show_fixtures_per_test", "zt_rbac_file")
        return any(getattr(option, name, False) for name in names)

    @property
    def _only_tells(self) -> bool:
        """True if text is printed or written instead of running the tests."""
        return bool(self._config.getoption("zt_plan") or self._config.getoption("zt_rbac_file"))

    # -- start

    def prepare_run(self) -> None:
        """Choose the run's id without connecting, for workers that may connect later."""
        self.run = new_run(f"{getpass.getuser()}@{socket.gethostname()}")

    def start(self) -> None:
        """Controller: refuse bad input, then connect, once. Workers have got everything already,
        but for the run that was handed to them unconnected. Raises pytest.UsageError."""
        if (self.is_worker and not self._late) or self._started or self._only_looks:
            return
        self._started = True
        try:
            if self.settings.cluster is None:
                if self.settings.conformance:
                    raise UsageProblem(f"the shipped suite was asked for, but {NO_CLUSTER}")
                if self.settings.level is not None:
                    raise UsageProblem(
                        f"--zt-level {self.settings.level} demands a level, but {NO_CLUSTER}"
                    )
                return
            from pytest_zerotrust.preflight import preflight, require_rights

            if self.run is None:
                self.prepare_run()
            assert self.run is not None
            self.identity, self.live = preflight(self.settings, self.intent, self.run)
            if self.selection.known or self._has_workers:
                require_rights(self.settings, self.intent, self.identity, self.selection)
            if self.identity.server_time is not None:
                self.run = expiring(self.run, self.identity.server_time)
        except UsageProblem as error:
            self.run = None
            raise pytest.UsageError(f"zerotrust: {error}") from error
        if not self.is_worker:
            self._interrupts.listen()

    def start_late(self) -> None:
        """Start where nothing but a collected test asked for a cluster; shows the header now.

        Raises pytest.UsageError; a worker of pytest-xdist keeps it for its tests to tell.
        """
        if self._started:
            return
        try:
            self.start()
            if self.identity is not None and not self.selection.known:
                self._require_rights(self.identity)
        except pytest.UsageError as error:
            if not self.is_worker:
                raise
            self.unusable = str(error)
        reporter = self._config.pluginmanager.get_plugin("terminalreporter")
        if reporter is not None:
            for line in self.header():
                reporter.write_line(line)

    def refuse_if_unusable(self) -> None:
        """Raise UsageProblem in a test if this session can verify nothing."""
        if self.unusable:
            raise UsageProblem(self.unusable)

    def misused(self, text: str) -> None:
        """A test asks for something that there is not: told when all tests are collected. In a
        worker raises CollectError, which pytest-xdist shows."""
        if self.is_worker:
            raise pytest.Collector.CollectError(text)
        self.unusable = self.unusable or f"zerotrust: {text}"

    def header(self) -> list[str]:
        """Lines for pytest's header."""
        from pytest_zerotrust.header import header_lines

        if self.is_worker or self.identity is None or self.run is None:
            return []
        return header_lines(self.settings, self.intent, self.identity, self.run)

    def for_worker(self) -> dict[str, Any]:
        """Everything that a worker needs, as JSON-able data."""
        return {
            "intent": self._intent_text,
            "intent_name": self.intent.source,
            "today": self._today.isoformat(),
            "cluster": asdict(self.settings.cluster) if self.settings.cluster else None,
            "run": self.run.to_dict() if self.run else None,
            "live": {key: live.to_dict() for key, live in self.live.items()},
        }

    def _take_over(self, handed: dict[str, Any]) -> None:
        self.run = Run.from_dict(handed["run"]) if handed["run"] else None
        self.live = {key: LiveWorkload.from_dict(data) for key, data in handed["live"].items()}

    # -- tests

    def collected(self, items: list[pytest.Item]) -> None:
        """Apply ``--zt-level`` and remember the checks that the selected tests stand for."""
        if self.settings.level is not None:
            from pytest_zerotrust.levels import keep_level

            keep_level(self._config, items, self.settings.level)
        needs_cluster = any(uses_zerotrust(item) for item in items)
        without = self.settings.cluster is None and not self._only_looks
        if needs_cluster and without and not self.unusable:
            self.unusable = f"zerotrust: these tests need a cluster, but {NO_CLUSTER}"
        if self.unusable and not self.is_worker:
            raise pytest.UsageError(self.unusable)
        self.demand = [check for check in map(check_of, items) if check is not None]
        self.selection = self._selection_of(items)
        if self.settings.cluster is not None:
            from pytest_zerotrust.early import may_end_early

            self._may_end_early = may_end_early(self._config, items)
            found = ((item.nodeid, check_of(item)) for item in items)
            self._waiting = {name: check for name, check in found if check is not None}
        if self.identity is not None:
            # Connected before it was known what would be selected.
            self._require_rights(self.identity)

    def _require_rights(self, identity: Identity) -> None:
        from pytest_zerotrust.preflight import require_rights

        try:
            require_rights(self.settings, self.intent, identity, self.selection)
        except UsageProblem as error:
            self.run = None
            raise pytest.UsageError(f"zerotrust: {error}") from error

    @property
    def _has_workers(self) -> bool:
        """True in the controller of pytest-xdist, which never knows what its workers select."""
        return not self.is_worker and getattr(self._config.option, "dist", "no") != "no"

    def _selection_of(self, items: list[pytest.Item]) -> Selection:
        """What the collected tests stand for."""
        ours = [item for item in items if uses_zerotrust(item)]
        own = any(check_of(item) is None for item in ours)
        # By its fixture request a test may ask for ours while it runs.
        own = own or any(
            "request" in getattr(item, "fixturenames", ()) and check_of(item) is None
            for item in items
        )
        return Selection(checks=tuple(self.demand), sentences=own)

    @property
    def engines(self) -> Engines:
        """The engines of all layers, connected at first use."""
        with self._lock:
            if self._engines is None:
                from pytest_zerotrust.engines import connect

                self._engines = connect(self)
                plan = self._engines.network.plan(self.network_demand)
                plan += self._engines.mesh.plan(self.mesh_demand)
                plan += self._engines.wire.plan(self.wire_demand)
                self._engines.fleet.begin(plan)
            return self._engines

    @property
    def made(self) -> Api | None:
        """The connection by which this process makes objects, if it has made one."""
        return self._engines.api if self._engines is not None else None

    @property
    def network_demand(self) -> Iterator[Any]:
        """The network checks that were collected, looked through only when they are needed: most
        of thousands of tests find their check observed already."""
        from pytest_zerotrust.network.checks import Check as NetworkCheck

        return (c for c in self.demand if isinstance(c, NetworkCheck))

    @property
    def mesh_demand(self) -> Iterator[Any]:
        """The mesh checks that were collected, looked through only when they are needed."""
        from pytest_zerotrust.mesh.checks import Check as MeshCheck

        return (c for c in self.demand if isinstance(c, MeshCheck))

    @property
    def wire_demand(self) -> Iterator[Any]:
        """The checks of the wire between nodes that were collected."""
        from pytest_zerotrust.mesh.wire_checks import Check as WireCheck

        return (c for c in self.demand if isinstance(c, WireCheck))

    def admission_demand(self, check: Any) -> list[Any]:
        """The admission checks that were collected, to be sent along with ``check``. In a worker
        only some that follow it: most of the others are the other workers' to send."""
        from pytest_zerotrust.admission.corpus.select import CaseCheck
        from pytest_zerotrust.admission.pairs import PairCheck

        found = [c for c in self.demand if isinstance(c, (PairCheck, CaseCheck))]
        if self.is_worker and check in found:
            start = found.index(check)
            return found[start : start + 16]
        return found

    # -- end

    def tested(self, item: pytest.Item) -> None:
        """A test is over. Once no other needs what the run made, it can go."""
        engines = self._engines
        if not self._may_end_early or engines is None or self._only_tells:
            return
        self._waiting.pop(item.nodeid, None)
        # The last ones first: they are seen last, and this is asked after each test.
        if all(engines.have_seen(check) for check in reversed(self._waiting.values())):
            from pytest_zerotrust.early import EarlyEnd

            self._may_end_early = False
            self._early = EarlyEnd()
            self._early.begin(self)

    def finish(self, session: pytest.Session) -> None:
        """Controller: delete what the run made, then set the exit status and write evidence."""
        if self.is_worker:
            return
        # From here on an interrupt is only noted: a second Ctrl-C must not leave pods behind.
        with self._interrupts.unhurried(
            lambda text: print(f"\nzerotrust: {text}", file=sys.stderr)
        ):
            from pytest_zerotrust.ending import (
                INCONCLUSIVE,
                clean_up,
                exit_status,
                write_artifacts,
            )

            connected = self.run is not None and self.settings.cluster is not None
            if connected and not self._only_tells:
                done = self._early.report() if self._early is not None else None
                status = int(session.exitstatus)
                self.collector.cleanup = done or clean_up(self, status=status)
            session.exitstatus = exit_status(int(session.exitstatus), self)
            if self.settings.artifacts is not None and self.run is not None:
                written = write_artifacts(self.settings.artifacts, self)
                if not written and session.exitstatus == 0:
                    # Who asked for evidence and got none has no green run.
                    session.exitstatus = INCONCLUSIVE

    def summarise(self, terminalreporter: Any) -> None:
        """Show the table of levels."""
        found = self.collector
        shown = found.results or found.inconclusive_tests or found.unusable
        asked = shown or self.run is not None
        if not self.is_worker and asked and not self._only_tells:
            from pytest_zerotrust.report.table import show
            from pytest_zerotrust.report.waivers import show_waivers

            show(terminalreporter, self.collector, demanded=self.settings.level)
            if self._config.getoption("zt_matrix") or self._config.getoption("verbose") > 0:
                from pytest_zerotrust.report.picture import show_matrix

                show_matrix(terminalreporter, self.collector.results, self.intent.workloads)
            show_waivers(terminalreporter, self.collector.states_of(self.waived))
            if self.intent.baseline and not self.intent.workloads:
                terminalreporter.write_line(BASELINE_ONLY)

    def close(self) -> None:
        """Give back the signal handlers."""
        self._interrupts.restore()


def _intent_text(settings: Settings) -> tuple[str, str]:
    from pytest_zerotrust.intent.load import read_text

    if settings.intent_file is None:
        # Whoever asks for the suite without a file is told what the network does with policies.
        baseline = "baseline: true\n" if settings.conformance else ""
        return f"version: 1\n{baseline}", f"no intent file ({DEFAULT_INTENT})"
    return read_text(settings.intent_file), str(settings.intent_file)


def _with_profile(intent: Intent, profile: str | None) -> Intent:
    """The option wins over the intent file."""
    if intent.admission is None or profile is None:
        return intent
    return replace(intent, admission=replace(intent.admission, profile=profile))
