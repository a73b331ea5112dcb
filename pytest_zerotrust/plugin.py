"""pytest's face of the project: hooks in the order of their life cycle, each a few lines.

Nothing heavy is imported here: projects that merely have the plugin installed pay for this module.
"""

from __future__ import annotations

from collections.abc import Generator
from typing import TYPE_CHECKING, Any

import pytest

from pytest_zerotrust import options
from pytest_zerotrust.usage import ASKED, uses_zerotrust

if TYPE_CHECKING:
    from pytest_zerotrust.latecomers import Latecomers
    from pytest_zerotrust.session import ZeroTrustSession

SESSION: pytest.StashKey[ZeroTrustSession] = pytest.StashKey()
_LATE: pytest.StashKey[Latecomers] = pytest.StashKey()
_RERUN: pytest.StashKey[int] = pytest.StashKey()

_MARKERS = (
    "zt_each(kind): run the test once for each check of this kind that the intent file implies",
    "zt_control(id): the test belongs to this control",
)


def pytest_addoption(parser: pytest.Parser) -> None:
    """Register our options."""
    options.add_options(parser)


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_load_initial_conftests(
    early_config: pytest.Config, parser: pytest.Parser, args: list[str]
) -> Generator[None, None, None]:
    """Keep pytest from mistaking our files for tests; add the shipped suite; be last."""
    code = options.rerun_with_joined_options(early_config)
    if code is not None:
        # All is done; what is left of this first attempt must load nothing and find nothing odd.
        early_config.stash[_RERUN] = code
        early_config.known_args_namespace.noconftest = True
        args[:] = []
    elif early_config.known_args_namespace.zt_conformance:
        from pytest_zerotrust.suite import suite_path

        path = str(suite_path())
        if path not in args:
            args.append(path)
    try:
        yield
    finally:
        early_config.stash[options.OURS] = options.add_kubeconfig(parser)


@pytest.hookimpl(tryfirst=True)
def pytest_cmdline_main(config: pytest.Config) -> int | None:
    """End where everything was done already, or where only text is asked for."""
    if _RERUN in config.stash:
        return config.stash[_RERUN]
    asks_no_cluster = config.getoption("zt_rbac") or config.getoption("zt_rbac_file")
    if len(config.getoption("kube_context")) > 1 and not asks_no_cluster:
        from pytest_zerotrust.clusters import run_each, several_contexts

        contexts = several_contexts(config)
        if contexts:
            return run_each(config, contexts)
    if config.getoption("zt_rbac"):
        from pytest_zerotrust.commands import print_rbac

        return print_rbac(config)
    if config.getoption("zt_draft"):
        from pytest_zerotrust.commands import write_draft

        return write_draft(config)
    if config.getoption("zt_sweep"):
        from pytest_zerotrust.commands import run_sweep

        return run_sweep(config)
    return None


def pytest_configure(config: pytest.Config) -> None:
    """Register markers; set up the session where a cluster or the suite is asked for."""
    told = config.getoption("zt_plan") or config.getoption("zt_rbac_file")
    if told and hasattr(config.option, "dist"):
        # What only tells needs no workers; pytest-xdist reads these after us.
        config.option.dist, config.option.tx = "no", []
    for marker in _MARKERS:
        config.addinivalue_line("markers", marker)
    if _asked_for(config):
        session_of(config)
    elif getattr(config.option, "dist", "no") != "no" and not hasattr(config, "workerinput"):
        from pytest_zerotrust.latecomers import Latecomers

        late = Latecomers(config, _new_session, lambda made: _keep(config, made))
        config.stash[_LATE] = late
        config.pluginmanager.register(late, "zerotrust-latecomers")


def _asked_for(config: pytest.Config) -> bool:
    # An option of that name that is not ours has a meaning of its own in its project; there we
    # wait until a test uses one of our fixtures.
    ours = config.stash.get(options.OURS, False) and config.getoption("kubeconfig", None)
    return bool(
        ours
        or config.getoption("in_cluster")
        or config.getoption("zt_conformance")
        or config.getoption("zt_intent")
        or config.getoption("zt_level")
        or config.getoption("kube_context")
        or (hasattr(config, "workerinput") and "zerotrust" in config.workerinput)
    )


def session_of(config: pytest.Config) -> ZeroTrustSession:
    """Return the session, made now if nothing asked for it before."""
    if SESSION not in config.stash:
        _keep(config, _new_session(config))
    return config.stash[SESSION]


def _new_session(config: pytest.Config) -> ZeroTrustSession:
    from pytest_zerotrust.session import ZeroTrustSession

    return ZeroTrustSession.from_config(config)


def _keep(config: pytest.Config, session: ZeroTrustSession) -> None:
    config.stash[SESSION] = session


@pytest.hookimpl(tryfirst=True)
def pytest_sessionstart(session: pytest.Session) -> None:
    """Connect, and tell of bad input, before anything is made (controller only)."""
    if SESSION in session.config.stash:
        session.config.stash[SESSION].start()


def pytest_report_header(config: pytest.Config) -> list[str]:
    """Say which cluster, as whom, where and how many pods."""
    return config.stash[SESSION].header() if SESSION in config.stash else []


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: Any) -> None:
    """Hand the run to a worker of pytest-xdist."""
    if SESSION in node.config.stash:
        node.workerinput["zerotrust"] = node.config.stash[SESSION].for_worker()
    elif _LATE in node.config.stash:
        node.config.stash[_LATE].hand_over(node)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Make one test of each check that a ``zt_each`` marker asks for."""
    marker = metafunc.definition.get_closest_marker("zt_each")
    if marker is not None:
        from pytest_zerotrust.suite import parametrize

        try:
            session = session_of(metafunc.config)
        except pytest.UsageError as error:
            # Raised here it would be taken for a broken test file, with a page of traceback.
            raise pytest.Collector.CollectError(str(error)) from None
        parametrize(metafunc, marker, session)


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Keep what ``--zt-level`` selects, and remember what will be demanded."""
    if SESSION in config.stash or any(uses_zerotrust(item) for item in items):
        session = session_of(config)
        session.collected(items)
        session.start_late()


@pytest.hookimpl(tryfirst=True)
def pytest_runtestloop(session: pytest.Session) -> bool | None:
    """Print the plan, or write the rights, instead of running the tests, where that is asked."""
    if session.config.getoption("zt_plan"):
        from pytest_zerotrust.commands import print_plan

        print_plan(session_of(session.config))
        return True
    if session.config.getoption("zt_rbac_file"):
        from pytest_zerotrust.commands import write_rbac

        folder = session.config.invocation_params.dir
        write_rbac(session_of(session.config), folder, session.config.getoption("zt_rbac_file"))
        return True
    return None


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Attach verdicts to the report; a test that proved nothing does not pass."""
    report = yield
    if SESSION in item.config.stash:
        from pytest_zerotrust.outcome import complete_report

        complete_report(item, call, report)
        if report.when == "teardown":
            item.config.stash[SESSION].tested(item)
    return report


@pytest.hookimpl(wrapper=True)
def pytest_sessionfinish(session: pytest.Session) -> Generator[None, None, None]:
    """Delete what the run made and set the exit status (controller only)."""
    try:
        yield
    finally:
        if _LATE in session.config.stash:
            session.config.stash[_LATE].end(int(session.exitstatus))
        if SESSION in session.config.stash:
            session.config.stash[SESSION].finish(session)


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """Show the table of levels."""
    if SESSION in terminalreporter.config.stash:
        terminalreporter.config.stash[SESSION].summarise(terminalreporter)


def pytest_unconfigure(config: pytest.Config) -> None:
    """Give back signal handlers."""
    if SESSION in config.stash:
        config.stash[SESSION].close()


def _session_for(request: pytest.FixtureRequest) -> ZeroTrustSession:
    request.node.stash[ASKED] = True
    session = session_of(request.config)
    session.start_late()
    session.refuse_if_unusable()
    return session


@pytest.fixture
def zt_network(request: pytest.FixtureRequest) -> Any:
    """Who can reach whom: sentences about workloads, shown by probe pods in the cluster."""
    from pytest_zerotrust.facades import Network

    return Network(_session_for(request), request.node)


@pytest.fixture
def zt_mesh(request: pytest.FixtureRequest) -> Any:
    """Mutual TLS of the workloads, shown by attacks from outside and calls from inside the mesh."""
    from pytest_zerotrust.facades import Mesh

    return Mesh(_session_for(request), request.node)


@pytest.fixture
def zt_admission(request: pytest.FixtureRequest) -> Any:
    """What the cluster turns away, shown by server-side dry runs of minimal pairs."""
    from pytest_zerotrust.facades import Admission

    return Admission(_session_for(request), request.node)
