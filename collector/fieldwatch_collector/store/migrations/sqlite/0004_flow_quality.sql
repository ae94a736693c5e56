-- How well a flow went. The least and most of frame sizes and gaps stay in the bodies of the batches: a mean size is
-- bytes / packets, and nobody asks for flows by them. Rows from before this migration hold zeros until a rebuild.
ALTER TABLE flow ADD COLUMN retransmits INTEGER NOT NULL DEFAULT 0;        -- segments of the side that opened the flow
ALTER TABLE flow ADD COLUMN reply_retransmits INTEGER NOT NULL DEFAULT 0;
ALTER TABLE flow ADD COLUMN server_rtt_us INTEGER NOT NULL DEFAULT 0;      -- agent to server and back; 0 = not known
ALTER TABLE flow ADD COLUMN client_rtt_us INTEGER NOT NULL DEFAULT 0;
