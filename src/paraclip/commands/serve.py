"""`serve`: its options and the command."""

import os
from dataclasses import dataclass
from typing import Annotated

from annotated_types import Ge, Le

from paraclip.commands.index import INDEX, OfIndex
from paraclip.commands.packages import require_packages
from paraclip.errors import printable
from paraclip.options import PathName
from paraclip.progress import is_quiet


@dataclass(frozen=True)
class ServeConfig(OfIndex):
    """Serve an index as a web page and over HTTP."""

    index: PathName = INDEX
    """Folder of the index to search."""

    models: str | None = None
    """Comma-separated models to show side by side: labels of the index (base,tuned), or
    LABEL=MODEL. Default: all models of the index."""

    host: str = "127.0.0.1"
    """Address to listen on. Any address other than loopback needs a token: a secret that each
    request must carry (Authorization: Bearer TOKEN, or once ?token=TOKEN), which the environment
    variable PARACLIP_TOKEN gives."""

    port: Annotated[int, Ge(0), Le(65535)] = 8000
    """Port to listen on; 0 selects a free port."""

    allow_host: tuple[str, ...] = ()
    """Additional host names to accept for a server on a loopback address."""

    llm: str | None = None
    """Language model that suggests rewordings, as in `paraclip generate --backend`; openai: that of
    the environment variables OPENAI_BASE_URL and PARACLIP_MODEL. Default: none."""


def serve_command(config: ServeConfig) -> None:
    """Serve until interrupted; raises KeyboardInterrupt after current requests are answered."""
    require_packages("serve", config)
    from paraclip.image_search.engine import choose_models, measure_cutoffs
    from paraclip.image_search.serving.server import listen, log_to_stderr, make_limits, make_server
    from paraclip.image_search.serving.service import Service, Version
    from paraclip.image_search.snapshot import open_pool
    from paraclip.image_search.towers import open_tower
    from paraclip.store import Store

    # Not an option, because other users see the arguments of a process.
    token = os.environ.get("PARACLIP_TOKEN") or None
    limits = make_limits(config.host, token, config.allow_host)
    reworder = None
    if config.llm:
        from paraclip.image_search.serving.rewording import Reworder

        reworder = Reworder(config.llm)
    # First, because models take seconds to load and the port may be taken.
    with listen(config.host, config.port) as listener:
        store = Store(str(config.index))
        facts, name, pool = open_pool(store)
        models = facts.models if config.models is None else choose_models(facts, config.models)
        towers = {
            label: open_tower(model, facts, store.where, prepare=True)
            for label, model in models.items()
        }
        current = Version(facts, name, pool, measure_cutoffs(store, facts, towers))
        service = Service(store, current, towers)
        if not is_quiet():
            log_to_stderr()
        # 0.0.0.0 and :: mean all interfaces, and are no address to open.
        host = {"0.0.0.0": "localhost", "::": "localhost"}.get(config.host, config.host)
        shown = f"[{host}]" if ":" in host else printable(host)  # IPv6
        port = listener.getsockname()[1]  # 0 has become a free one
        print(f"Open http://{shown}:{port}/ in a browser; stop with Ctrl-C.", flush=True)
        make_server(service, limits, reworder).run([listener])
