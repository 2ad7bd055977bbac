"""The bundled registry server."""
