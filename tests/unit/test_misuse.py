"""Slips of a caller get our own exceptions, which say what would have been right."""

from typing import Any

import pytest

import mynamo
from mynamo.catalog.shard import DynamoDBShard
from mynamo.errors import ConfigError, InvalidRequest, InvalidToken
from mynamo.reader.waiting import token_texts


@pytest.mark.parametrize("version", [0, -1, "x", True, None, 1.5])
def test_a_version_is_a_number_from_a_receipt(version: Any) -> None:
    with pytest.raises(InvalidRequest, match="whole number from 1 on"):
        mynamo.version_is(version)


def shard() -> DynamoDBShard:
    return DynamoDBShard(shard_index=1, host="127.0.0.1", user="u", password="p", port=1)


@pytest.mark.parametrize("shards", [{"host": "x"}, [{"host": "x"}], "x", 5])
def test_shards_are_a_list_of_shards(shards: Any) -> None:
    with pytest.raises(ConfigError, match="list of DynamoDBShard"):
        mynamo.HashBasedShardManager(shards=shards)


def test_shards_are_not_the_configuration() -> None:
    with pytest.raises(ConfigError, match=r"shards=\[\.\.\.\]"):
        mynamo.HashBasedShardManager([shard()])  # type: ignore[arg-type]


def test_one_of_both_is_needed() -> None:
    with pytest.raises(ConfigError, match="and not both"):
        mynamo.HashBasedShardManager()


def test_a_configuration_is_named_by_its_path() -> None:
    with pytest.raises(ConfigError, match="named by a path"):
        mynamo.connect(5)  # type: ignore[arg-type]


@pytest.mark.parametrize("number", [0, 4097, "x"])
def test_a_shards_number_is_in_range(number: Any) -> None:
    with pytest.raises(ConfigError, match=f"shard {number}: id"):
        DynamoDBShard(shard_index=number, host="127.0.0.1", user="u", password="p")


@pytest.mark.parametrize("after", [5, object(), [5]])
def test_after_is_a_receipt_or_a_token(after: Any) -> None:
    with pytest.raises(InvalidToken, match="receipt or its token"):
        token_texts(after)
