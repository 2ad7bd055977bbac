"""Where the registry keeps things: one Protocol, a directory and a memory implementation."""
