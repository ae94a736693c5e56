"""HTTP: REST under /api/v1, the WebSocket, health, metrics and the page; `create_app` puts them together.

One router a resource. Endpoints that ask the read model or the accounts are plain `def`: they block, so the framework
runs them in its threads. May import the read model, the accounts, the hub and `fieldwatch_proto`.
"""

from fieldwatch_collector.api.app import create_app

__all__ = ["create_app"]
