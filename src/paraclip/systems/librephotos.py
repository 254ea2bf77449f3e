"""LibrePhotos: `text_model.onnx` of its search model in the folder `data_models`; its database.

Source, LibrePhotos/librephotos (read in November 2026):
- `apps/backend/service/clip_embeddings/clip_onnx.py` at a25a3ad, since pull request 2012 of
  September 2026: `load` (line 59) reads the towers and tokenizer.json; `encode_text` (line 107)
  gives the first input of text_model.onnx int64 [1, length], cut after 77 tokens, so that a longer
  text has no end token; the graph restores it. Vectors are not of unit length.
- `apps/backend/api/ml_models.py`, `ML_MODELS`: `data_models/clip_vit_b32` holds the towers of
  Xenova/clip-vit-base-patch32, which is OpenAI's ViT-B/32; a file that exists is not downloaded.
- `apps/backend-ts/src/ml/clip/inprocess.ts` at 8e8edb1 calls the same files in the same way, and
  `data_models/mobileclip_s2`, the towers of Xenova/mobileclip_s2 and the default: int64 [1, 77],
  padded with 0; vectors are not of unit length. `model.ts` at 5fe5367: results have an inner
  product of at least 27 with ViT-B/32, and 1.84 with MobileCLIP-S2 (`searchThreshold`).
- `apps/backend-ts/src/ml/tags/tagger.ts` at 8e8edb1: MobileCLIP-S2 is Apple's, without mean and
  standard deviation, as open_clip's `datacompdr`; its tagger keeps vectors of the tags, by the same
  text_model.onnx, in tag_embeddings.npy. A file that exists is not downloaded, nor compared.
- `service/clip_embeddings/semantic_search/semantic_search.py` at e675a0d, of versions before: line
  25, SentenceTransformer('data_models/clip-embeddings').
- `api/models/photo.py`: `clip_embeddings` of the table `api_photo`, an array at e675a0d (line 107),
  JSON later, in old rows as a string; `clip_embeddings_model` (NULL: ViT-B/32) in the newest, which
  embeds the photos of another model again; PostgreSQL alone has this column.
"""

from paraclip.compute.onnx_session import TextGraph
from paraclip.models.formats.clip_tokenizer import END_ID
from paraclip.systems.pgvector import connected, read_table
from paraclip.systems.system import Cache, IndexAddress, Layout, Parts, System

_LAYOUT = Layout(
    "onnx",
    (
        "In data_models/clip_vit_b32 (below protected_media), rename text_model.onnx to"
        " text_model.onnx.base, and copy {folder}/{file} there; the tokenizer stays. Versions"
        " before September 2026 read data_models/clip-embeddings instead: put an export --for"
        " sentence-transformers in its place.",
        "Restart the backend. Vectors of photos stay.",
        "To go back, rename text_model.onnx.base to text_model.onnx.",
    ),
    file="clip_vit_b32/text_model.onnx",
    graph=TextGraph(unit=False, end=END_ID),
    tokenizer="clip_vit_b32",
)
_MOBILE = Layout(
    "onnx",
    (
        "In data_models/mobileclip_s2 (below protected_media), rename text_model.onnx to"
        " text_model.onnx.base, and copy {folder}/{file} there; the tokenizer stays. Delete"
        " tag_embeddings.npy there: vectors of the tags, which are computed again.",
        "Restart the backend. Vectors of photos stay.",
        "To go back, rename text_model.onnx.base to text_model.onnx, delete tag_embeddings.npy"
        " again, and restart.",
    ),
    file="mobileclip_s2/text_model.onnx",
    graph=TextGraph(fixed_length=True, unit=False, end=END_ID),
    any_tower=True,
)
_RESTART = "Restart the backend (docker restart backend); the photos need no new job."
_PHOTOS = "api_photo LEFT JOIN api_file ON api_file.hash = api_photo.main_file_id"
# As text, so that arrays, JSON and JSON in a string are one.
_VECTOR = """nullif(translate(api_photo.clip_embeddings::text, '[]" ', '{}'), '{}')"""
_NAMES_MODEL = """
SELECT 1 FROM information_schema.columns
WHERE table_name = 'api_photo' AND column_name = 'clip_embeddings_model'
"""


def _read(place: IndexAddress) -> Parts:
    """The photos with a vector of one model: the only one, or the one that the column names."""
    from paraclip.systems.columns import choose_one

    with connected(place) as connection:
        from psycopg.sql import Literal

        model = "'clip_vit_b32'"
        if connection.execute(_NAMES_MODEL).fetchone():
            model = f"coalesce(api_photo.clip_embeddings_model, {model})"
        known = connection.execute(f"SELECT DISTINCT {model} FROM api_photo ORDER BY 1").fetchall()
        some = f"SELECT 1 FROM api_photo WHERE {model} = %s AND {_VECTOR} IS NOT NULL LIMIT 1"
        found = [one for (one,) in known if connection.execute(some, (one,)).fetchone()]
        name = Literal(choose_one(found, place, "column")).as_string(connection)
        vector = f"(CASE WHEN {model} = {name} THEN {_VECTOR} END)"
        yield from read_table(connection, _PHOTOS, vector, "api_file.path", place)


LIBREPHOTOS = System(
    "librephotos",
    _LAYOUT,
    ("ViT-B-32__openai",),
    Cache(
        {"text_model.onnx": _LAYOUT},
        ("clip_vit_b32",),
        _RESTART,
        image="vision_model.onnx",
    ),
    _read,
    index="postgresql://...",
    others=(
        System(
            "librephotos",
            _MOBILE,
            ("MobileCLIP-S2__datacompdr",),
            Cache(
                {"text_model.onnx": _MOBILE},
                ("mobileclip_s2",),
                _RESTART,
                image="vision_model.onnx",
                prepared=("tag_embeddings.npy",),
            ),
            index="postgresql://...",
        ),
    ),
)
