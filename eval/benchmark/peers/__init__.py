"""Adapters of other people's systems: each says of itself what it needs, and runs in an environment of its own."""
