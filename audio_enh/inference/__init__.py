"""Checkpoints, and models applied to audio of any rate and length."""
