"""The shipper: what the spool holds goes to the collector, in order, within the window that the collector grants.

`shipper` is the thread, `session` one stream of it, `window` what is in flight, `messages` the wire form, `backoff` the
pauses, `errors` who is to blame for a stream that ended. Imports the spool, never the capture.
"""
