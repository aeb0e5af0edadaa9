"""The Hydra configuration tree, shipped as package data (entry point: ``train.yaml``)."""
