"""The shipper: what the spool holds goes to the collector, fresh data first, within the window that it grants.

`shipper` is the thread, `session` one stream of it, `conversation` what is said on it, `agenda` what goes next,
`window` what is in flight, `pace` how much of it the link can bear, `messages` the wire form, `backoff` the pauses,
`errors` who is to blame for a stream that ended. Imports the spool, never the capture.
"""
