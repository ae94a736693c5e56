"""Who may speak to the collector as an agent: the certificate authority, join tokens, enrolment's decisions.

All TLS keys are P-256. An agent's id comes from its certificate alone: the SAN ``spiffe://fieldwatch/agent/<uuid>``.
May import fieldwatch_proto, `store`, `journal` and `audit`.
"""

from __future__ import annotations

SPIFFE_PREFIX = "spiffe://fieldwatch/agent/"
COLLECTOR_NAME = "collector.fieldwatch.internal"
AGENT_CERTIFICATE_DAYS = 7
