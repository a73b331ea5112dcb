"""Figures of the network engine, measured on a lab beside a peer."""
