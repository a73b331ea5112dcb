"""Level 3: what the cluster turns away, shown by server-side dry runs of minimal pairs."""
