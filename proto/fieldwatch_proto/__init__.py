"""The contract between agent, collector and client: wire messages, record schemas, the column codec, and what all
sides must agree on (settings, log form, device identity). Imports nothing else of Fieldwatch; everybody may import it.
"""
