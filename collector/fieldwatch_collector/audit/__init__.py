"""Who did what, and who was refused: an append-only log whose rows are chained by their hashes.

`append` writes a row in the transaction of the change itself, so that neither is there without the other. `verify`
finds a row that was changed, taken out or put in between. Rows that were cut off at the end are found by a head that
was written down elsewhere: ``fieldwatch-collector audit verify --head HASH``. `archive` is a part of it as a file.

Anybody may import this package; it imports nothing of the collector's but `admin` and `store`, for its commands.
"""

from __future__ import annotations

from fieldwatch_collector.audit.log import Checked, append, verify

__all__ = ["Checked", "append", "verify"]
