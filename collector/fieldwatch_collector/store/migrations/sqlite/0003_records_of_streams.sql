-- How many records the batches of a stream held when they were stored: a sum over the log grows with the log.
ALTER TABLE stream ADD COLUMN records INTEGER NOT NULL DEFAULT 0;
UPDATE stream SET records = coalesce(
    (SELECT sum(batch.records) FROM batch WHERE batch.agent = stream.agent AND batch.epoch = stream.epoch), 0);
DROP INDEX batch_agent;
