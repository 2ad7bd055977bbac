"""Unpacking, committing, editing and archiving images."""
