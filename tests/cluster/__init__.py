"""What tests in Python share: the API server, both providers and the operator as processes on loopback."""
