"""A strategy of hypothesis: a file that was cut, doubled, overwritten or encoded anew."""

from hypothesis import strategies as st

ENCODINGS = ("utf-8-sig", "utf-16", "utf-16-be", "utf-32", "latin-1", "cp500")
PIECES = (b"\0", b"\r", b"\n", b'"', b"\t", b"[" * 300, b"\xff\xfe", b"9" * 400, b"\\ud800")


def mangled(content: bytes) -> st.SearchStrategy[bytes]:
    """What may become of a file's content on its way."""
    text = content.decode("utf-8", "replace")
    encoded = [text.encode(encoding, "replace") for encoding in ENCODINGS]
    places = st.integers(0, len(content))
    pieces = st.binary(max_size=4) | st.sampled_from(PIECES)
    return st.one_of(
        st.sampled_from([b"", content * 2, content[::-1], *encoded]),
        places.map(lambda end: content[:end]),
        st.builds(lambda place, piece: content[:place] + piece + content[place:], places, pieces),
        st.builds(
            lambda place, piece: content[:place] + piece + content[place + len(piece) :],
            places, pieces,
        ),
    )  # fmt: skip
