"""Level 2: mutual TLS between services, shown by plaintext and TLS sent to the real workloads."""
