"""The spool: sealed batches on disk that wait for the collector's ack.

`store` is the file and its one connection, `thread` the one thread that uses it, `control` what other processes may ask
of a running daemon, `migrate` the child that brings an old file up to date. Imported by the daemon and by the commands
``spool ...``; nothing here imports the capture or the shipper.
"""
