"""The edge agent: capture, dissectors, spool, shipper. May import `fieldwatch_ext` and `fieldwatch_proto`."""
