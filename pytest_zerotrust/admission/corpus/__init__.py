"""The corpus: pods that break one rule each, beside a twin that differs in exactly that field."""
