"""From the batch log to tables: inventory, flows, metrics, events.

The store's writer calls `Projector.step` between its group commits. Batches are taken in the order of their position;
what comes of a batch, and the position of each projection, are committed in one transaction: every batch counts exactly
once, whatever is killed when. A large one is taken in parts, and the number of its records that are done is committed
with each. `reset` drops what was derived, and the same steps derive it anew.

A batch that cannot be decoded, or on which a projection fails, goes to the dead letter table, and the next one follows:
one bad batch never blocks the rest. Only the machine's own failures (disk full) undo a step as a whole.
"""

from fieldwatch_collector.projections.projector import Projector

__all__ = ["Projector"]
