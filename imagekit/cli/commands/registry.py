"""``imagekit registry``."""

from pathlib import Path

from imagekit.cli import declare
from imagekit.cli.render import print_error_line
from imagekit.cli.session import Session


@declare.group("registry", short_help="Serve a registry.")
def command() -> None:
    """Serve a registry of your own.

    Example:
      imagekit registry serve --listen 127.0.0.1:5000 --storage ./registry
    """


@command.command("serve", short_help="Serve a registry until interrupted.")
@declare.option("--listen", metavar="HOST:PORT", help="Address (127.0.0.1:5000; port 0: any free).")
@declare.option(
    "--storage", type=declare.PATH, metavar="DIR", help="Where images are kept (ROOT/registry)."
)
@declare.option(
    "--htpasswd", type=declare.PATH, metavar="FILE", help="Users; without it all may do all."
)
@declare.option("--anonymous-pull", is_flag=True, help="Everybody may pull; pushing needs a user.")
@declare.option("--read-only", is_flag=True, help="Refuse every change.")
@declare.option("--tls-cert", type=declare.PATH, metavar="FILE", help="Certificate chain (PEM).")
@declare.option("--tls-key", type=declare.PATH, metavar="FILE", help="Its private key (PEM).")
@declare.option("--workers", type=declare.IntRange(1, 64), default=1, help="Processes (1).")
@declare.option("--allow-sparse", is_flag=True, help="Take manifests whose content is not here.")
@declare.option("--no-fsync", is_flag=True, help="Faster; a power cut may lose the newest pushes.")
def serve(
    session: Session,
    *,
    listen: str | None,
    storage: Path | None,
    htpasswd: Path | None,
    anonymous_pull: bool,
    read_only: bool,
    tls_cert: Path | None,
    tls_key: Path | None,
    workers: int,
    allow_sparse: bool,
    no_fsync: bool,
) -> None:
    """Serve a registry (OCI distribution API) until interrupted.

    What is not given comes from REGISTRY_SERVER_LISTEN, _ROOT, _HTPASSWD, _TLS_CERT, _TLS_KEY.

    Example:
      imagekit registry serve --listen 0.0.0.0:5000 --storage /srv/registry
      imagekit registry serve --htpasswd users --tls-cert cert.pem --tls-key key.pem
    """
    from registry_server.config import Defaults, Settings, parse_listen
    from registry_server.main import serve as run_server

    defaults = Defaults.from_environment(session.environ)
    host, port = parse_listen(listen or defaults.listen)
    settings = Settings(
        root=storage or defaults.root or session.settings.root / "registry",
        host=host,
        port=port,
        htpasswd=htpasswd or defaults.htpasswd,
        anonymous_pull=anonymous_pull,
        read_only=read_only,
        tls_cert=tls_cert or defaults.tls_cert,
        tls_key=tls_key or defaults.tls_key,
        workers=workers,
        durable=not no_fsync,
        allow_sparse=allow_sparse,
    )
    run_server(settings, announce=print_error_line)
