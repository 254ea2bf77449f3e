"""A server over a small index, without torch: towers are hashes, pictures are squares."""

import json
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from paraclip.image_search.serving.rewording import Reworder
from paraclip.image_search.serving.server import listen, make_limits, make_server
from paraclip.image_search.serving.service import Service, Version
from paraclip.image_search.snapshot import open_pool
from paraclip.store import IndexFacts, Store, picture_id, schema
from postgres_server import wait_until
from tiny import jpeg

WIDTH = 16
SCRIPT = "<script>document.title='hacked'</script>"
NAMES = [f"{number:02}.png" for number in range(30)]
NASTY = "<img src=x onerror=alert(1)>.png"
LEAVING = ["../secret.png", "link.png", "folder/../../secret.png"]
COUNT = len(NAMES) + 1 + len(LEAVING)


class HashTower:
    """A text tower whose vectors depend on the words alone; `noise` makes it sensitive to order."""

    image_space = "space"

    def __init__(self, name: str, noise: float = 0.0) -> None:
        self.name, self.noise = name, noise
        self.batches: list[int] = []

    def embed(self, texts: Sequence[str]) -> np.ndarray:
        """Sums of word vectors, unit length."""
        self.batches.append(len(texts))
        rows = [sum(map(word_vector, text.lower().split())) for text in texts]
        if self.noise:
            noise = [self.noise * word_vector(text) for text in texts]
            rows = [row + more for row, more in zip(rows, noise, strict=True)]
        made = np.array(rows, np.float32).reshape(len(texts), WIDTH) + 1e-6
        return made / np.linalg.norm(made, axis=1, keepdims=True)


class FirstAxis:
    """An image tower with one vector for all pictures."""

    def embed_image(self, image: Any) -> np.ndarray:
        """The first unit vector."""
        return np.eye(WIDTH, dtype=np.float32)[0]


def word_vector(word: str) -> np.ndarray:
    """A vector [WIDTH] that depends on the word."""
    seed = int.from_bytes(word.encode()[:64], "little") % 2**32
    return np.random.default_rng(seed).standard_normal(WIDTH)


def made_index(folder: Path, address: str) -> Store:
    """Pictures in a folder and an index: one with a nasty name and caption, and three whose paths
    leave the folder."""
    pictures = folder / "pictures"
    pictures.mkdir(exist_ok=True)
    (folder / "secret.png").write_bytes(b"secret")
    (pictures / "link.png").symlink_to(folder / "secret.png")
    names = [*NAMES, NASTY, *LEAVING]
    for number, name in enumerate(names[: -len(LEAVING)]):
        (pictures / name).write_bytes(jpeg(number))
    vectors = np.random.default_rng(0).standard_normal((len(names), WIDTH)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    columns = {
        "id": list(map(picture_id, names)),
        "path": names,
        "size": [1] * len(names),
        "modified": [1] * len(names),
        "hash": [""] * len(names),
        "caption": [SCRIPT if name == NASTY else f"picture {name}" for name in names],
        "thumbnail": [jpeg(number) for number in range(len(names))],
        "time": [datetime.now(UTC)] * len(names),
        "vector": pa.FixedSizeListArray.from_arrays(pa.array(vectors.ravel()), WIDTH),
    }
    store = Store(address)
    models = {"base": "hash", "tuned": "hash"}
    known = store.facts()
    store.save_facts(known or IndexFacts("space", WIDTH, str(pictures), str(pictures), models))
    store.put(pa.table(columns, schema=schema(WIDTH)))
    return store


def made_service(store: Store, noise: float = 1.0) -> Service:
    """A service with a noisy base and an exact tuned tower."""
    towers = {"base": HashTower("base", noise), "tuned": HashTower("tuned")}
    return Service(store, Version(*open_pool(store)), towers)


@dataclass
class Site:
    """A running server."""

    url: str
    port: int
    service: Service
    connections: set[Any]
    tasks: set[Any]
    headers: dict[str, str] = field(default_factory=dict)

    def get(self, path: str, body: bytes | None = None, **headers: str) -> tuple[int, Any, bytes]:
        """Status, headers and body of a request; a body makes it a POST."""
        request = urllib.request.Request(
            self.url + path.lstrip("/"), body, {**self.headers, **headers}
        )
        try:
            with urllib.request.urlopen(request, timeout=60) as response:
                return response.status, response.headers, response.read()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.headers, error.read()

    def json(self, path: str, body: bytes | None = None, **headers: str) -> Any:
        """The JSON of a request that must succeed."""
        status, _, content = self.get(path, body, **headers)
        assert status == 200, content
        return json.loads(content)


@contextmanager
def served(
    service: Service,
    token: str | None = None,
    reworder: Reworder | None = None,
    allow_host: tuple[str, ...] = (),
) -> Iterator[Site]:
    """A server in a thread, as `paraclip serve` runs it."""
    limits = make_limits("127.0.0.1", token, allow_host)
    with listen("127.0.0.1", 0) as listener:
        port = listener.getsockname()[1]
        server = make_server(service, limits, reworder)
        thread = threading.Thread(target=server.run, args=([listener],), daemon=True)
        thread.start()
        wait_until(lambda: server.started or not thread.is_alive())
        try:
            state = server.server_state
            url = f"http://127.0.0.1:{port}/"
            yield Site(url, port, service, state.connections, state.tasks)
        finally:
            server.should_exit = True
            thread.join(30)
