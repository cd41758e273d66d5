"""The JSON schemas under docs/ are those of the code."""

from pathlib import Path

from mynamo.schemas.export import exported

FOLDER = Path(__file__).parents[2] / "docs" / "schemas"


def test_docs_have_the_current_schemas() -> None:
    found = {path.name: path.read_text(encoding="utf-8") for path in FOLDER.glob("*.json")}
    assert found == exported(), "run `python -m mynamo.schemas.export docs/schemas`"


def test_a_changed_model_is_noticed() -> None:
    changed = {**exported(), "WriteCommand.json": "{}\n"}
    found = {path.name: path.read_text(encoding="utf-8") for path in FOLDER.glob("*.json")}
    assert found != changed
