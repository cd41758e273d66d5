"""Imports the Kafka client library, once, without its warnings.

On Python 3.11 and 3.12 it reads its protocol's files by functions that are deprecated there, and no
longer are in 3.13. A program that turns warnings into errors could not import mynamo. The packages
that use the library, `mynamo.log` and `mynamo.local`, import this module first.
"""

from __future__ import annotations

import warnings

with warnings.catch_warnings():
    warnings.filterwarnings("ignore", r"(read|open)_text is deprecated", DeprecationWarning)
    import kafka  # noqa: F401
