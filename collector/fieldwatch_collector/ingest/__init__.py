"""What agents say to the collector: batches (`service`), heartbeats and renewals (`control`), enrolment (`enrolment`).

Everything runs on the event loop of the server; what blocks is done by the store's writer or in a thread. Imports go to
`config`, `hub`, `store`, `identity`, `journal` and fieldwatch_proto.
"""
