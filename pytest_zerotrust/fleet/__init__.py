"""Probe pods: planned, created once per run, asked in batches, deleted by the controller."""
