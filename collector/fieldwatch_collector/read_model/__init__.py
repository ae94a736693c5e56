"""Everything that people and programs ask of a collector: plain dicts with the field names of query.proto.

One module per subject, each a few functions over a read-only connection; `ReadModel` opens a short one per question.
REST serves the dicts as JSON, gRPC converts them. Times leave as `schema.time_text`; values in SQL are always bound.
May import the standard library, `fieldwatch_proto` and `clocks` only.
"""

from fieldwatch_collector.read_model.asking import BadRequest, NotFound
from fieldwatch_collector.read_model.model import ReadModel

__all__ = ["BadRequest", "NotFound", "ReadModel"]
