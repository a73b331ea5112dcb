"""Faults on a real lab of their own: whatever breaks, no pass that was not earned, nothing left."""
