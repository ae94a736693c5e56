"""The gRPC service `Query`: the read model and the event hub for programs, behind an API token."""
