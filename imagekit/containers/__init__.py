"""Containers: run, exec, stop, logs, commit."""
