"""A real two-node Kubernetes cluster on one machine, from package registries alone."""
