"""The kernel: frames in, records out. Compiled; no logging, no policy, and content never raises.

`capture` holds the sources of frames (files, live rings), `bpf` the filter machine, `engine` the one pass over a block:
decode, flow table, sighting table. The other modules read, for dissectors, what Python would read slowly, on the rare
messages that they are handed. Imports nothing else of Fieldwatch.
"""
