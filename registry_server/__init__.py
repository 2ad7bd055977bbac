"""The bundled registry server: OCI distribution-spec 1.1 over a directory.

A request travels: ``app`` (aiohttp) -> ``routes`` -> ``auth`` -> ``handlers`` -> ``storage``. Only
``app`` knows aiohttp; handlers take a ``http.Request`` and give a ``http.Response``.
"""
