"""Directory trees to layer archives and back."""
