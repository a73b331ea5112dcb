"""Connection, identity, permissions, objects, exec: the only place that talks to an API server."""
