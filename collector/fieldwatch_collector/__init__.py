"""The collector: ingest, store, projections, API, web page. May import `fieldwatch_proto` only."""
