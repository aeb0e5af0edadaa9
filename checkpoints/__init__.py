"""Shipped weights: one folder each with ``model.safetensors``, ``config.yaml`` and ``README.md`` (model card)."""
