"""`mynamo lag`, `verify` and `repair`: how the indexes are."""

from __future__ import annotations

import os
import time
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click
from rich.live import Live
from rich.text import Text

from mynamo.catalog.cluster import Cluster
from mynamo.cli.command_context import as_json, find_table, opened, table_name
from mynamo.cli.effort import effort, lines_to, looking, progress_shown
from mynamo.cli.output import console, print_grid, print_json, say
from mynamo.cli.statuses import FAILED, UNDECIDED, WRONG
from mynamo.operations.findings import Finding, IndexVerdict, Unmatched, Verdict, verdict_line
from mynamo.operations.lag import LagReport
from mynamo.operations.lag import lag as lag_of
from mynamo.operations.repair import Action, RepairReport
from mynamo.operations.repair import repair as repair_table
from mynamo.operations.verify import verify as verify_table


@click.command()
@click.option("--watch", is_flag=True, help="Look again and again, until Ctrl-C.")
@click.option(
    "--every", type=click.FloatRange(0.1), metavar="SECONDS",
    help="Between two looks of --watch.  [default: 1]",
)  # fmt: skip
@as_json
def lag(watch: bool, every: float | None, as_json: bool) -> None:
    """Show how far outboxes, GSIs and queued writes are behind.

    Also says how many items are in unfinished transactions over several shards. With --watch
    --json: a line per look. Ends with status 1 if a server did not answer, and with 3 if an index
    makes no progress.

    \b
    Examples:
      mynamo lag
      mynamo lag --watch
      mynamo lag --json | jq .seconds
    """
    if every is not None and not watch:
        raise click.UsageError("--every is for --watch: one look has no other one after it")
    with opened() as cluster:
        if not watch:
            report = lag_of(cluster)
            if as_json:
                print_json(_lag_json(report))
            else:
                _print_lag(report)
            if report.standing:
                raise SystemExit(WRONG)
            raise SystemExit(0 if report.complete else FAILED)
        with suppress(KeyboardInterrupt):
            _watch(cluster, every or 1.0, as_json)


def _watch(cluster: Cluster, every: float, as_json: bool) -> None:
    screen = console()
    with Live(console=screen, auto_refresh=False) as live:
        while True:
            report = lag_of(cluster)
            if as_json:
                print_json(_lag_json(report), indent=False)
            elif screen.is_terminal:
                live.update(Text(str(report)), refresh=True)
            else:
                click.echo(f"{report}\n")
            time.sleep(every)


def _checked_metrics(_: click.Context, __: click.Parameter, file: Path | None) -> Path | None:
    """Find out before a long comparison that its metrics could not be written."""
    if file is not None and file.suffix != ".prom":
        raise click.BadParameter("the node exporter reads only files whose names end with .prom")
    if file is not None and not os.access(file.absolute().parent, os.W_OK | os.X_OK):
        raise click.BadParameter(f"no file can be written in {file.absolute().parent}")
    return file


@click.command()
@table_name
@effort
@click.option(
    "--metrics", type=click.Path(path_type=Path, dir_okay=False), metavar="FILE",
    callback=_checked_metrics,
    help="Write the findings to FILE (*.prom), for Prometheus' node exporter (textfile collector).",
)  # fmt: skip
def verify(
    table: str,
    wait: float,
    parallel: int,
    rate: float | None,
    resume: Path | None,
    log: Path | None,
    as_json: bool,
    metrics: Path | None,
) -> None:
    """Prove that a table's indexes are what the table says: no row missing, stale or too much.

    Compares both ways, on all shards, beside live writes, and changes nothing. Also finds items
    that are marked for a transaction that there is not, and the other way round. Ends with
    status 0 if everything is right, 3 if something is damaged (`mynamo repair` mends it),
    4 if the indexers are too far behind to tell, 1 if it could not look.

    \b
    Examples:
      mynamo verify orders && echo clean
      mynamo verify orders --parallel 4 --resume orders.state
      mynamo verify orders --rate 20000 --log findings.jsonl
      mynamo verify orders --metrics /var/lib/prometheus/node-exporter/mynamo_orders.prom
    """
    began = time.monotonic()
    shown = progress_shown(f"verifying {table}")
    with looking(resume), opened() as cluster, lines_to(log) as note, shown as moved:

        def tell(findings: list[Finding | Unmatched]) -> None:
            for finding in findings:
                note(finding.as_json())

        find_table(cluster, table)
        verdict = verify_table(
            cluster, table, wait=wait, parallel=parallel, rate=rate, resume=resume,
            on_progress=moved, on_findings=tell,
        )  # fmt: skip
    if as_json:
        print_json(verdict_json(verdict))
    else:
        print_verdict(verdict)
    if metrics is not None:
        from mynamo.metrics.verify_metrics import write_verdict

        write_verdict(verdict, time.monotonic() - began, metrics)
    if not verdict.ok:
        raise SystemExit(WRONG if verdict.damaged else UNDECIDED)


@click.command()
@table_name
@click.option("--plan", is_flag=True, help="Only say what would be done.")
@effort
def repair(
    table: str,
    plan: bool,
    wait: float,
    parallel: int,
    rate: float | None,
    resume: Path | None,
    log: Path | None,
    as_json: bool,
) -> None:
    """Mend what `mynamo verify` finds in a table's indexes, beside live writes.

    Changes index rows only: the main table is right by definition. Of its items it only takes
    away marks that no transaction has an intent for. Says of every finding what it did. Ends with
    status 0 if nothing is left to mend, 3 if something is, 4 if the indexers are too far behind to
    tell, 1 if it could not look.

    \b
    Examples:
      mynamo repair orders --plan
      mynamo repair orders --log repairs.jsonl
    """
    shown = progress_shown(f"examining {table}")
    with looking(resume), opened() as cluster, lines_to(log) as note, shown as moved:

        def tell(action: Action) -> None:
            note(action.as_json())
            if not as_json:
                say(str(action))

        find_table(cluster, table)
        report = repair_table(
            cluster, table, dry_run=plan, wait=wait, parallel=parallel, rate=rate,
            resume=resume, on_progress=moved, on_action=tell,
        )  # fmt: skip
    if as_json:
        print_json(_repair_json(report))
    else:
        _print_repair(report)
    if not report.ok:
        left = report.verdict.findings - report.mended - report.waiting
        raise SystemExit(WRONG if left > 0 or report.not_mendable else UNDECIDED)


def print_verdict(verdict: Verdict) -> None:
    """Print the figures of a comparison, examples of what is wrong, and one line that decides."""
    print_grid(
        ["index", "kind", "rows", "missing", "stale", "ghosts", "undecided"],
        [(i.name, i.kind, f"{i.rows:,}", i.missing, i.stale, i.ghosts, i.undecided)
         for i in verdict.indexes],
        right=["rows", "missing", "stale", "ghosts", "undecided"],
    )  # fmt: skip
    for index in verdict.indexes:
        for finding in index.examples:
            say(f"{index.name}: {finding}")
    for damaged in verdict.unreadable_examples:
        say(f"damaged: {damaged}")
    for unmatched in verdict.unmatched_examples:
        say(unmatched)
    for name in verdict.left_out:
        say(f"{name}: left out, it is still being backfilled")
    click.echo(verdict_line(verdict))


def verdict_json(verdict: Verdict) -> dict[str, Any]:
    """The same for scripts."""
    return {
        "table": verdict.table,
        "ok": verdict.ok,
        "items": verdict.items,
        "shards": verdict.shards,
        "findings": verdict.findings,
        "undecided": verdict.undecided,
        "unreadable": verdict.unreadable,
        "unreadable_examples": verdict.unreadable_examples,
        "marks": verdict.marks,
        "intents": verdict.intents,
        "unmatched_examples": verdict.unmatched_examples,
        "left_out": verdict.left_out,
        "indexes": [_index_json(index) for index in verdict.indexes],
    }


def _index_json(index: IndexVerdict) -> dict[str, Any]:
    return {
        "name": index.name,
        "kind": index.kind,
        "rows": index.rows,
        "missing": index.missing,
        "stale": index.stale,
        "ghosts": index.ghosts,
        "undecided": index.undecided,
        "examples": [str(example) for example in index.examples],
    }


def _print_repair(report: RepairReport) -> None:
    print_verdict(report.verdict)
    if report.dry_run:
        click.echo(f"plan: {report.verdict.findings:,} index rows would be mended")
        if report.verdict.marks:
            click.echo(f"{report.verdict.marks:,} marks of no transaction would be taken away")
        return
    click.echo(f"mended {report.mended:,} of {report.verdict.findings:,} wrong index rows")
    if report.verdict.marks:
        click.echo(f"took {report.freed:,} of {report.verdict.marks:,} marks away")
    if report.waiting:
        click.echo(f"{report.waiting:,} wait for the indexers: run `mynamo writer` and `indexer`")
    if report.untouched:
        click.echo(f"{report.untouched:,} were left alone, as the indexers stand still")
    if report.failed:
        click.echo(f"{report.failed:,} could not be mended; `mynamo dlq list` may say why")


def _repair_json(report: RepairReport) -> dict[str, Any]:
    return {
        "ok": report.ok,
        "plan": report.dry_run,
        "mended": report.mended,
        "freed": report.freed,
        "waiting": report.waiting,
        "untouched": report.untouched,
        "failed": report.failed,
        "by_index": report.by_index,
        "examples": report.examples,
        "verdict": verdict_json(report.verdict),
    }


def _print_lag(report: LagReport) -> None:
    print_grid(
        ["shard", "outbox rows", "bytes", "oldest", "unpublished", "unapplied", "behind", "relay"],
        [(s.shard, f"{s.rows:,}", f"{s.payload_bytes:,}", f"{s.oldest_seconds:.0f} s",
          f"{s.unpublished:,}", f"{s.unapplied:,}", f"{s.unapplied_seconds:.1f} s",
          s.relay if s.relay_alive else "none: run `mynamo writer`") for s in report.shards],
        right=["outbox rows", "bytes", "oldest", "unpublished", "unapplied", "behind"],
    )  # fmt: skip
    if report.indexes:
        print_grid(
            ["table", "index", "status", "from shard", "events", "behind"],
            [(i.table, i.index, i.status, i.shard, f"{i.events:,}", f"{i.seconds:.1f} s")
             for i in report.indexes],
            right=["from shard", "events", "behind"],
        )  # fmt: skip
    for s in report.shards:
        if s.intents:
            what = (
                "1 item is in an unfinished transaction"
                if s.intents == 1
                else f"{s.intents:,} items are in unfinished transactions, the oldest"
            )
            click.echo(
                f"shard {s.shard}: {what} for {s.intents_seconds:.1f} s: "
                "see `mynamo transaction list`"
            )
    if report.indexer_missing:
        click.echo("no indexer is at work: run `mynamo indexer`")
    elif report.indexers is not None:
        click.echo(f"indexers at work: {report.indexers}")
    if report.standing:
        click.echo(report.standstill)
    if report.queued_writes is not None:
        click.echo(f"queued writes that wait: {report.queued_writes:,}")
    for move in report.moves:
        click.echo(f"moving {move}")
    for note in report.notes:
        say(note)


def _lag_json(report: LagReport) -> dict[str, Any]:
    return {
        **asdict(report),
        "seconds": report.seconds,
        "events": report.events,
        "indexer_missing": report.indexer_missing,
        "standstill": bool(report.standing),
    }
