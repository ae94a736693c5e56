-- What a batch accounts for, so that a gap over numbers that are held is less by a sum over a range. Written when the
-- batch is projected, which opens it anyway; kept for ever, as its digest is. Beside the batch and not in it: behind the
-- body a column would be read and written with the whole body. Of batches from before this migration a row is made when
-- a gap first asks for it.
CREATE TABLE batch_tally(
    agent TEXT NOT NULL,
    epoch INTEGER NOT NULL,
    seq INTEGER NOT NULL,
    kind INTEGER NOT NULL,
    records INTEGER NOT NULL,
    frames INTEGER NOT NULL,            -- of its flow records, or counted outside flows; 0 where it cannot be opened
    PRIMARY KEY (agent, epoch, seq)
) WITHOUT ROWID;

INSERT INTO projection(name, position) SELECT 'tally', min(position) FROM projection HAVING count(*) > 0;
