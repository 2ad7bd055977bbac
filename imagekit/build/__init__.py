"""From a Dockerfile's stages to an image."""
