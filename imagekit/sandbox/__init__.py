"""Processes in namespaces, cgroups and a layered root."""
