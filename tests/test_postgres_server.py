"""The server started by tests keeps its data after a crash and restart."""

from postgres_server import PostgresServer


def test_a_server_that_is_stopped_at_once_keeps_its_rows() -> None:
    with PostgresServer() as server:
        server.query("CREATE TABLE pairs (number int, near vector(2))")
        server.query("INSERT INTO pairs VALUES (1, '[0,1]'), (2, '[1,0]')")
        server.query("CHECKPOINT")  # fsync is off
        server.stop()
        server.start()
        near = server.query("SELECT number FROM pairs ORDER BY near <#> '[1,0]'")
        assert near == [(2,), (1,)]
