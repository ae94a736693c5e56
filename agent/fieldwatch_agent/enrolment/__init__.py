"""Who the agent is: its key, certificate and collector.

`identity` is what the daemon reads; `enrol` and `renew` make certificates and run in processes of their own, because
`cryptography` costs memory that the daemon would never give back.
"""
