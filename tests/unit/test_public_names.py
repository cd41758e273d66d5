"""What `import mynamo` offers."""

from __future__ import annotations

import subprocess
import sys

import mynamo
from mynamo import errors
from mynamo.errors import MynamoError


def in_order(name: str) -> tuple[int, str]:
    """Constants, then classes, then functions, each by name."""
    return (0 if name.isupper() else 1 if name[0].isupper() else 2, name)


def test_names_are_sorted_and_there() -> None:
    assert mynamo.__all__ == sorted(set(mynamo.__all__), key=in_order)
    for name in mynamo.__all__:
        assert getattr(mynamo, name) is not None
    assert dir(mynamo) == sorted(mynamo.__all__)
    assert not hasattr(mynamo, "nothing_of_ours")


def test_every_error_is_offered() -> None:
    ours = {
        name
        for name, value in vars(errors).items()
        if isinstance(value, type) and issubclass(value, MynamoError)
    }
    assert ours <= set(mynamo.__all__)


def test_importing_mynamo_loads_no_driver() -> None:
    """`mynamo --help` and the local servers' scripts need none."""
    program = "import sys, mynamo; print({'pymysql', 'kafka', 'pydantic'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.stdout.strip() == "set()", done.stderr
