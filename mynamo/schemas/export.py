"""Write the contracts as JSON Schema: `python -m mynamo.schemas.export docs/schemas`."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from mynamo.schemas.commands import WriteCommand
from mynamo.schemas.config import ClusterConfig
from mynamo.schemas.dead_letters import DeadLetter
from mynamo.schemas.events import ChangeEvent
from mynamo.schemas.table import TableSchema

MODELS: tuple[type[BaseModel], ...] = (
    ChangeEvent,
    ClusterConfig,
    DeadLetter,
    TableSchema,
    WriteCommand,
)


def exported() -> dict[str, str]:
    """File name and text of each contract's JSON schema."""
    return {f"{model.__name__}.json": _text(model.model_json_schema()) for model in MODELS}


def _text(schema: dict[str, Any]) -> str:
    return json.dumps(schema, indent=2, sort_keys=True) + "\n"


def main(folder: str) -> None:
    """Write all of them into a folder."""
    Path(folder).mkdir(parents=True, exist_ok=True)
    for name, text in exported().items():
        (Path(folder) / name).write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1])
