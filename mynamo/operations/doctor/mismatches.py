"""What does not fit together in the configuration, the catalog and the shards."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from mynamo.catalog.catalog import shard_format
from mynamo.operations.doctor.databases import SET_UP, CatalogState, Found
from mynamo.operations.doctor.diagnosis import Check
from mynamo.operations.doctor.rights import listed


def mismatches(catalog: Found, shards: Mapping[int, Found], partitions: int) -> Iterator[Check]:
    """Compare what was found in all databases.

    Args:
        shards: by the numbers that they have in the configuration.
        partitions: as the configuration says.
    """
    yield from _rights(shards)
    known = catalog.catalog
    if known is None:
        return
    if known.partitions != partitions:
        text = f"the cluster has {known.partitions} partitions, but kafka.partitions says"
        yield Check("problem", catalog.about, f"{text} {partitions}", "correct kafka.partitions")
    for number in sorted(known.members - shards.keys()):
        text = f"the cluster has shard {number}, which the configuration does not name"
        todo = f"add a [[shards]] with id = {number} to it"
        yield Check("problem", catalog.about, text, todo)
    for number, shard in shards.items():
        if shard.answers:
            yield from _of_shard(number, shard, known)


def _of_shard(number: int, found: Found, known: CatalogState) -> Iterator[Check]:
    state = found.shard
    if number not in known.members:
        text = "the cluster does not have this shard yet"
        todo = f"once all processes know it: `mynamo shard add {number}`"
        yield Check("warning", found.about, text, todo)
    elif found.is_empty:
        text = "it lacks its control tables, so this is not the shard's database"
        yield Check("problem", found.about, text, f"correct its address, or {SET_UP}")
    elif state is None:  # another check says why
        return
    elif (state.cluster_id, state.shard) != (known.cluster_id, number):
        same = state.cluster_id == known.cluster_id
        what = f"shard {state.shard}" if same else "a shard of another cluster"
        todo = "correct its address in the configuration"
        yield Check("problem", found.about, f"this database is {what}", todo)
    elif state.oldest < shard_format(known.format):
        text = "an upgrade of the cluster is not done here, so reads and writes are refused"
        todo = "run `mynamo upgrade` again, or leave it to `mynamo writer`"
        yield Check("problem", found.about, text, todo)


def _rights(shards: Mapping[int, Found]) -> Iterator[Check]:
    """Shards whose user may do less than that of others."""
    most = frozenset[str]().union(*(shard.rights or () for shard in shards.values()))
    for shard in shards.values():
        if shard.rights is not None and most - shard.rights:
            text = f"the user lacks {listed(most - shard.rights)}, which another shard grants"
            todo = "grant the same on all shards (docs/operations.md, Rights in MySQL)"
            yield Check("warning", shard.about, text, todo)
