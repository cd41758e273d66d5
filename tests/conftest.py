"""Servers for integration tests, and a report of which ones this run had."""

from __future__ import annotations

import os
import shutil
import signal
import zlib
from collections.abc import Callable, Generator, Iterator
from contextlib import ExitStack
from dataclasses import asdict
from functools import cache
from pathlib import Path
from typing import Any, Literal, cast

import pytest
from hypothesis import HealthCheck, settings
from kafka import KafkaAdminClient

from mynamo.local import (
    ApacheKafka,
    Broker,
    EmbeddedBroker,
    EngineKind,
    LocalCluster,
    LocalMySQL,
    find_engine,
    free_port,
)
from mynamo.schemas.config import ClusterConfig, KafkaConfig, ShardConfig
from tests.amounts import AMOUNT, amount
from tests.commands import Dev
from tests.servers import (
    SERVER_FIXTURES,
    Record,
    Servers,
    discard_data,
    drop_topics,
    missing_servers,
    own_databases,
    provide_cluster,
    why_no_engine,
    why_no_kafka,
)

BrokerKind = Literal["apache", "embedded"]
ENGINES: tuple[EngineKind, ...] = ("mysql", "mariadb")
BROKERS: tuple[BrokerKind, ...] = ("apache", "embedded")
RECORD = pytest.StashKey[Record]()
FAILED = pytest.StashKey[bool]()
"""Whether a phase of a test has failed."""
MEMORY = Path("/dev/shm")  # noqa: S108 -- pytest makes a folder there that is the user's own
ROOM = 12 * 1024**3
"""Bytes of memory that make tests keep their servers' data there; they take a third of it."""

# A slow or busy machine fails no test of Hypothesis's: neither how long an example takes is
# looked at, nor how long it takes to make one.
settings.register_profile(
    "any machine",
    deadline=None,
    max_examples=amount(100),
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile("any machine")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--engine",
        choices=[*ENGINES, "all"],
        help="the shards' server in tests that do not name one (default: MySQL if there, "
        "else MariaDB; all: each such test with both)",
    )
    parser.addoption(
        "--fast",
        action="store_true",
        help="leave out tests that are marked slow, and what needs a second kind of server",
    )


def pytest_configure(config: pytest.Config) -> None:
    config.stash[RECORD] = Record()
    # Where `make fetch` puts servers, also for a pytest that make did not start.
    os.environ.setdefault("MYNAMO_CACHE", str(config.rootpath / ".cache"))
    # Most brokers of the tests live for seconds: quick compiling is worth more than quick code.
    os.environ.setdefault("JDK_JAVA_OPTIONS", "-XX:TieredStopAtLevel=1")
    # A shell in the background ignores Ctrl-C, and nohup SIGHUP; children of the tests must not.
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN:
        signal.signal(signal.SIGHUP, signal.SIG_DFL)
    # Tests kill servers, never the machine: what servers write need not reach a disk.
    if _room_in_memory() >= ROOM:
        os.environ.setdefault("PYTEST_DEBUG_TEMPROOT", str(MEMORY))


def _room_in_memory() -> int:
    """Bytes that files in memory may take."""
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
        available = next(int(line.split()[1]) for line in lines if line.startswith("MemAvailable:"))
        return min(1024 * available, shutil.disk_usage(MEMORY).free)
    except (OSError, StopIteration):  # not Linux
        return 0


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "cluster_servers" in metafunc.fixturenames and metafunc.config.option.engine == "all":
        metafunc.parametrize("cluster_servers", ENGINES, indirect=True, scope="session")


LONGEST = [
    "test_faults", "test_incarnations", "test_moves_steps", "test_writer_worker", "test_dev",
    "test_rolling_upgrade", "test_transactions_across_shards", "test_slow_brokers",
    "test_verify_beside_moves", "test_backfill_beside_moves", "test_back_pressure", "test_timeouts",
    "test_eventual_consistency", "test_verify", "test_verify_resumed", "test_checkers",
    "test_queue", "test_readme", "test_local_servers", "test_serve", "test_differential",
    "test_isolation", "test_enabling", "test_transaction_stress", "test_data_folder",
    "test_trace_export",
]  # fmt: skip
"""Files whose tests take a minute and more. Processes that share the tests (`--dist loadfile`)
begin with them, so that none is left alone with one in the end."""


ENGINE_MATTERS = {
    "test_contention", "test_data_folder", "test_driver", "test_explain_reads", "test_group_commit",
    "test_held_rows", "test_least_privilege", "test_lost_connections", "test_operations_plans",
    "test_relay", "test_server_checks", "test_slow_statements", "test_transaction",
    "test_transaction_stress", "test_write_batch",
}  # fmt: skip
"""Files whose tests are run with both engines each time. Of others each test has one engine in an
ordinary run, half of them MySQL and half MariaDB."""
OTHER_ENGINE = pytest.mark.skip(
    reason="the other engine has it in this run; `make test-nightly` takes both"
)


def _leave_to_other_engine(item: pytest.Item) -> None:
    """Skip a test with the engine that is not its own."""
    callspec = getattr(item, "callspec", None)
    engine = None if callspec is None else callspec.params.get("engine_servers")
    if engine is None or AMOUNT > 1 or item.path.stem in ENGINE_MATTERS:
        return
    name = item.nodeid.replace(engine, "")
    if engine != ENGINES[zlib.crc32(name.encode()) % len(ENGINES)]:
        item.add_marker(OTHER_ENGINE)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    for item in items:
        _leave_to_other_engine(item)
    if hasattr(config, "workerinput"):
        place = {stem: number for number, stem in enumerate(LONGEST)}
        items.sort(key=lambda item: place.get(item.path.stem, len(LONGEST)))
    if not config.option.fast:
        return
    left_out = {item for item in items if item.get_closest_marker("slow") or _names_second(item)}
    config.hook.pytest_deselected(items=list(left_out))
    items[:] = [item for item in items if item not in left_out]


def _names_second(item: pytest.Item) -> bool:
    """Whether a test is for MariaDB or for Apache Kafka by its parameters."""
    callspec = getattr(item, "callspec", None)
    given = callspec.params.values() if callspec is not None else ()
    return any(isinstance(one, str) and one in ("mariadb", "apache") for one in given)


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    """One of several processes has run its tests: its record belongs to the whole run's."""
    output = getattr(node, "workeroutput", {})  # none, if it has crashed
    for line in output.get("used", ()):
        node.config.stash[RECORD].note(line)
    node.config.stash[RECORD].missing = output.get("missing", [])
    node.config.stash[RECORD].needed |= output.get("needed", False)


def pytest_collection_finish(session: pytest.Session) -> None:
    record = session.config.stash[RECORD]
    record.needed = any(
        SERVER_FIXTURES & set(getattr(item, "fixturenames", ())) for item in session.items
    )
    if record.needed and not session.config.option.collectonly:
        record.missing = missing_servers()


def pytest_sessionfinish(session: pytest.Session) -> None:
    if hasattr(session.config, "workeroutput"):
        session.config.workeroutput |= asdict(session.config.stash[RECORD])
    if _incomplete_in_ci(session.config) and session.exitstatus == pytest.ExitCode.OK:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(
    terminalreporter: pytest.TerminalReporter, config: pytest.Config
) -> None:
    record = config.stash[RECORD]
    if not record.needed:
        return
    terminalreporter.section("servers")
    for line in record.used:
        terminalreporter.write_line(line)
    if record.missing:
        terminalreporter.section("WARNING: not everything was tested", sep="!", yellow=True)
        for line in record.missing:
            terminalreporter.write_line(line, yellow=True)
    if _incomplete_in_ci(config):
        terminalreporter.write_line("CI=true asks for all of them: this run FAILS", red=True)


def _incomplete_in_ci(config: pytest.Config) -> bool:
    record = config.stash[RECORD]
    return bool(os.environ.get("CI") == "true" and record.needed and record.missing)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Delete a test's own folder once it is over; after a failure only the data of servers in it,
    so that their logs can be read. pytest's own retention of failed tests' folders looks at the
    test alone, and would delete the logs of a server that did not start in a fixture."""
    report = yield
    item.stash[FAILED] = item.stash.get(FAILED, False) or report.failed
    folder: Path | None = getattr(item, "funcargs", {}).get("tmp_path")
    if report.when == "teardown" and folder is not None:
        if item.stash[FAILED]:
            discard_data(folder)
        else:
            shutil.rmtree(folder, ignore_errors=True)
    return report


@pytest.fixture(scope="session", autouse=True)
def data_of_servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Deletes, when all servers of this process have stopped, what data of theirs is left."""
    yield
    discard_data(tmp_path_factory.getbasetemp())


@pytest.fixture(autouse=True)
def signals() -> Iterator[None]:
    """A command that a test runs in this process may leave signals ignored, as if it ended it."""
    kinds = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before = {kind: signal.getsignal(kind) for kind in kinds}
    yield
    for kind, handler in before.items():
        signal.signal(kind, handler)


@pytest.fixture(scope="session")
def record(pytestconfig: pytest.Config) -> Record:
    """What this run used; shown at its end."""
    return pytestconfig.stash[RECORD]


@pytest.fixture(scope="session")
def chosen_engine(pytestconfig: pytest.Config) -> EngineKind | None:
    """The engine that the command line asks for, or None."""
    asked = pytestconfig.option.engine
    return None if asked in (None, "all") else cast(EngineKind, asked)


@pytest.fixture(scope="session")
def fault_engine(chosen_engine: EngineKind | None, record: Record) -> EngineKind:
    """The shards' server of the fault harness's clusters, which also have Apache Kafka."""
    record.needed = True
    record.missing = missing_servers()
    engine = chosen_engine or "mysql"
    if reason := why_no_engine(engine) or why_no_kafka():
        pytest.skip(reason)
    return engine


@pytest.fixture(scope="session")
def cluster_servers(
    request: pytest.FixtureRequest,
    tmp_path_factory: pytest.TempPathFactory,
    chosen_engine: EngineKind | None,
    record: Record,
) -> Iterator[Servers]:
    """Two shards and a broker, shared by all tests; `config` lends a test its part of them."""
    asked: EngineKind | None = getattr(request, "param", None)
    if asked and (reason := why_no_engine(asked)):
        pytest.skip(reason)
    engine = asked or chosen_engine
    folder = tmp_path_factory.mktemp("cluster")
    with provide_cluster(folder, engine, record) as servers:
        yield servers
    discard_data(folder)


@pytest.fixture(scope="session")
def kafka_admin(cluster_servers: Servers) -> Iterator[KafkaAdminClient]:
    """An administrator's client of the shared broker."""
    admin = KafkaAdminClient(bootstrap_servers=cluster_servers.config.kafka.bootstrap_servers)
    yield admin
    admin.close()


@pytest.fixture
def config(cluster_servers: Servers, kafka_admin: KafkaAdminClient) -> Iterator[ClusterConfig]:
    """A cluster of the test's own: new empty databases, and names of topics and groups."""
    with own_databases(cluster_servers.config) as own:
        yield own
    drop_topics(kafka_admin, own.kafka)


@pytest.fixture(scope="module")
def dev(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Dev]:
    """One `mynamo dev` for all tests of a file; each has a table of its own."""
    folder = tmp_path_factory.mktemp("dev")
    made = Dev(folder)
    made.start()
    yield made
    made.end_if_running()
    discard_data(folder)


@pytest.fixture(scope="session")
def engine_of(
    tmp_path_factory: pytest.TempPathFactory, record: Record
) -> Iterator[Callable[[EngineKind], LocalMySQL]]:
    """A server of an engine, started when it is first asked for and left running: tests of several
    files use them alternately."""
    with ExitStack() as ending:

        @cache
        def start(kind: EngineKind) -> LocalMySQL:
            engine = find_engine(kind)
            folder = tmp_path_factory.mktemp(kind)
            ending.callback(discard_data, folder)
            server = ending.enter_context(LocalMySQL(engine, folder, free_port()))
            record.note(f"engine: {engine.title}")
            return server

        yield start


@pytest.fixture(scope="session", params=ENGINES)
def engine_servers(
    request: pytest.FixtureRequest, engine_of: Callable[[EngineKind], LocalMySQL]
) -> LocalMySQL:
    """One server of each engine in turn, for tests of what differs between them."""
    reason = why_no_engine(request.param)
    if reason:
        pytest.skip(reason)
    return engine_of(request.param)


@pytest.fixture
def engine_config(engine_servers: LocalMySQL) -> Iterator[ClusterConfig]:
    """As `config`, with all databases on one server of each engine, and without a broker."""
    database = engine_servers.database("mynamo_template")
    shards = tuple(ShardConfig(id=number, **database.model_dump()) for number in (1, 2))
    template = ClusterConfig.model_construct(
        catalog=database, shards=shards, kafka=KafkaConfig(bootstrap_servers="127.0.0.1:1")
    )
    with own_databases(template) as own:
        yield own


@pytest.fixture(scope="session")
def broker_of(
    tmp_path_factory: pytest.TempPathFactory, record: Record
) -> Iterator[Callable[[BrokerKind], Broker]]:
    """A broker of a kind, as `engine_of` has servers."""
    with ExitStack() as ending:

        @cache
        def start(kind: BrokerKind) -> Broker:
            made = ApacheKafka if kind == "apache" else EmbeddedBroker
            broker = ending.enter_context(made(tmp_path_factory.mktemp(kind), free_port()))
            record.note(f"broker: {broker.title}")
            return broker

        yield start


@pytest.fixture(scope="session", params=BROKERS)
def kafka_servers(
    request: pytest.FixtureRequest, broker_of: Callable[[BrokerKind], Broker]
) -> Broker:
    """Each broker in turn, for tests of what differs between them."""
    if request.param == "apache" and (reason := why_no_kafka()):
        pytest.skip(reason)
    return broker_of(request.param)


@pytest.fixture
def private_cluster(
    tmp_path_factory: pytest.TempPathFactory, chosen_engine: EngineKind | None
) -> Iterator[Callable[..., LocalCluster]]:
    """Start clusters whose servers a test may kill; takes what `LocalCluster` takes."""
    started: list[LocalCluster] = []

    def start(
        shards: int = 2,
        engine: EngineKind | None = chosen_engine,
        kafka: BrokerKind = "embedded",
        **options: Any,
    ) -> LocalCluster:
        if kafka == "apache" and (reason := why_no_kafka()):
            pytest.skip(reason)
        folder = tmp_path_factory.mktemp("private")
        cluster = LocalCluster(folder, shards, engine, kafka, **options)
        started.append(cluster)
        return cluster.start()

    yield start
    for cluster in started:
        cluster.stop()
        discard_data(cluster.data_dir)
