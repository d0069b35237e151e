"""Prefect flows over the chain of dvc.yaml: they know its stages by their DVC names and nothing of what these do."""
