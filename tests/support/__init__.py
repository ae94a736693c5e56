"""What tests share: builders of frames and captures, an oracle, namespaces, a running site."""
