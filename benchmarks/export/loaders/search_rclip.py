"""rclip's own search over vectors in its database: VECTORS.npy QUERIES.npy SECONDS.npy.

The text encoder is replaced by a table of query vectors, as in the benchmark of ParaCLIP's server.
"""

import os
import sys
import tempfile
import time

import numpy as np

vectors, queries = (np.load(path) for path in sys.argv[1:3])
with tempfile.TemporaryDirectory() as folder:
    os.environ["RCLIP_DATADIR"] = folder
    from rclip.db import DB
    from rclip.main import RClip
    from rclip.model import Model

    class CannedModel(Model):
        """Looks up the vector of a query by its number."""

        def compute_features_for_queries(self, queries_: list[str]) -> np.ndarray:
            """The sum of the vectors; none for no query."""
            total = np.zeros(vectors.shape[1], np.float32)
            return sum((queries[int(query)] for query in queries_), total)

    database = DB(os.path.join(folder, "db.sqlite3"))
    for number, vector in enumerate(vectors):
        row = {"filepath": f"/made-up/{number}.jpg", "modified_at": 1, "size": 1, "hash": ""}
        database.upsert_image({**row, "vector": vector.tobytes()}, commit=False)
    rclip = RClip(CannedModel(), database, 8, None)
    taken = []
    for number in range(len(queries)):
        began = time.perf_counter()
        found = rclip.search(str(number), "/made-up", 10)
        taken.append(time.perf_counter() - began)
        best = np.argmax(vectors @ queries[number])
        assert found[0].filepath == f"/made-up/{best}.jpg", (found[0], best)
    np.save(sys.argv[3], taken)
