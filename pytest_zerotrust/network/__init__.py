"""Level 1: who can reach whom, shown by twins of the workloads that try it."""
