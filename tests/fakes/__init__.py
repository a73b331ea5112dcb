"""Stand-ins for what a real cluster will not show on demand."""
