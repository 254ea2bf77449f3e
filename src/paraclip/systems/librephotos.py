"""LibrePhotos: `clip_vit_b32/text_model.onnx` in its folder `data_models`, and its database.

Source, LibrePhotos/librephotos (read in November 2026):
- `apps/backend/service/clip_embeddings/clip_onnx.py` at a25a3ad, since pull request 2012 of
  September 2026: `load` (line 59) reads the towers and tokenizer.json; `encode_text` (line 107)
  gives the first input of text_model.onnx int64 [1, length], cut after 77 tokens, so that a longer
  text has no end token; the graph restores it. Vectors are not of unit length.
- `apps/backend/api/ml_models.py`, `ML_MODELS`: `data_models/clip_vit_b32` holds the towers of
  Xenova/clip-vit-base-patch32, which is OpenAI's ViT-B/32; a file that exists is not downloaded.
- `apps/backend-ts/src/ml/clip/inprocess.ts` at 8e8edb1 calls the same files in the same way;
  `model.ts` at 5fe5367: results have an inner product of at least 27 (`searchThreshold`).
- `service/clip_embeddings/semantic_search/semantic_search.py` at e675a0d, of versions before: line
  25, SentenceTransformer('data_models/clip-embeddings').
- `api/models/photo.py`: `clip_embeddings` of the table `api_photo`, an array at e675a0d (line 107),
  JSON later, in old rows as a string; `clip_embeddings_model` (NULL: ViT-B/32) in the newest.
"""

from paraclip.compute.onnx_session import TextGraph
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
    graph=TextGraph(unit=False, end=49407),
    tokenizer="clip_vit_b32",
)
_PHOTOS = "api_photo LEFT JOIN api_file ON api_file.hash = api_photo.main_file_id"
# As text, so that arrays, JSON and JSON in a string are one; of a row, because not every version
# has the column of the model.
_VECTOR = """(
CASE WHEN coalesce(to_jsonb(api_photo) ->> 'clip_embeddings_model', 'clip_vit_b32') = 'clip_vit_b32'
THEN nullif(translate(api_photo.clip_embeddings::text, '[]" ', '{}'), '{}') END)"""


def _read(place: IndexAddress) -> Parts:
    """The photos with a vector of ViT-B/32."""
    with connected(place) as connection:
        yield from read_table(connection, _PHOTOS, _VECTOR, "api_file.path", place)


LIBREPHOTOS = System(
    "librephotos",
    _LAYOUT,
    ("ViT-B-32__openai",),
    Cache(
        {"text_model.onnx": _LAYOUT},
        ("clip_vit_b32",),
        "Restart the backend (docker restart backend); the photos need no new job.",
        image="vision_model.onnx",
    ),
    _read,
    index="postgresql://...",
)
