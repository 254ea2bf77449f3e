"""Any model of open_clip as a `DualEncoder`."""

import json
from collections.abc import Sequence
from copy import deepcopy
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import torch
from open_clip import SimpleTokenizer
from open_clip.coca_model import CoCa
from open_clip.hf_model import HFTextEncoder
from open_clip.model import CustomTextCLIP
from open_clip.tokenizer import HFTokenizer
from open_clip.transform import PreprocessCfg, image_transform_v2
from open_clip.transformer import TextTransformer
from PIL import Image
from torch import Tensor, nn
from torch.nn.functional import normalize, pad

from paraclip.models.encoder import Architecture, DualEncoder, Tokens, pad_rows
from paraclip.models.sources import UNUSUAL, TextFiles, folder_of, tokenizer_errors
from paraclip.models.tensors import hash_tensors

_CONTEXT_LENGTH = 77  # tokens, of CLIP
AS_TRANSFORMERS = "transformers"
"""`tokenizer_mode` of a folder of transformers: texts are not repaired and cleaned as by
open_clip."""
# The towers have the same names in every kind of model here.
_TOWERS = {"visual": "image_tower", "text": "text_tower"}


@dataclass(frozen=True)
class ClipSpec:
    """Everything needed to build a model of open_clip, except its weights."""

    # open_clip's name, with `-quickgelu` for weights trained with QuickGELU if it exists
    name: str
    # open_clip's model configuration (`embed_dim`, `vision_cfg`, `text_cfg`, ...)
    config: dict[str, Any]
    # fields of open_clip's `PreprocessCfg` (mean, std, interpolation, ...)
    preprocessing: dict[str, Any]
    # files of a Hugging Face text tower or tokenizer, if it has one
    text_files: TextFiles | None = None


def build_clip(spec: ClipSpec) -> nn.Module:
    """The open_clip model with random weights; its text tower is the child `text`."""
    config = deepcopy(spec.config)
    config.pop("custom_text", None)  # an option of open_clip's factory, not of the class
    kind = CoCa if "multimodal_cfg" in config else CustomTextCLIP
    with folder_of(spec.text_files or {}) as folder:
        if "timm_model_name" in (vision := config["vision_cfg"]):
            vision["timm_model_pretrained"] = False  # all weights are in the file
            if sizes := vision.pop("timm_model_args", None):  # open_clip's names imply them
                sizes |= {"img_size": vision["image_size"], "patch_size": vision["patch_size"]}
                known = {"architecture": vision["timm_model_name"], "pretrained_cfg": {}}
                (inner := folder / "image").mkdir()
                (inner / "config.json").write_text(json.dumps({**known, "model_args": sizes}))
                vision["timm_model_name"] = f"local-dir:{inner}"
        if config["text_cfg"].get("hf_model_name"):
            config["text_cfg"] |= {"hf_model_name": str(folder), "hf_model_pretrained": False}
        clip: nn.Module = kind(**config)
    return clip


class _SharedTokenizer(SimpleTokenizer):  # type: ignore[misc]
    """open_clip's tokenizer, which copies of a model share: to copy it takes longer than the rest
    of a small model."""

    def __deepcopy__(self, memo: object) -> "_SharedTokenizer":
        return self


@lru_cache(8)  # to read its merges takes 0.1 s
def _shared_tokenizer(options: str) -> _SharedTokenizer:
    return _SharedTokenizer(**json.loads(options))


class OpenClip(DualEncoder):
    """A model of open_clip. Parts other than the two towers (CoCa's decoder) are kept but not used.

    Args:
        spec: specification from which it was built.
        clip: the model, `build_clip(spec)` with weights loaded.
    """

    def __init__(self, spec: ClipSpec, clip: nn.Module) -> None:
        super().__init__()
        self.spec = spec
        for name, child in clip.named_children():
            self.add_module(_TOWERS.get(name, name), child)
        for name, parameter in clip.named_parameters(recurse=False):
            self.register_parameter(name, parameter)
        config = spec.config["text_cfg"]
        options = {
            "context_length": config.get("context_length", _CONTEXT_LENGTH),
            **(config.get("tokenizer_kwargs") or {}),
        }
        if config.get("hf_tokenizer_name"):
            names = "tokenizer.json or tokenizer_config.json"
            with folder_of(spec.text_files or {}) as folder, tokenizer_errors(names):
                mode = config.get("tokenizer_mode")
                self.tokenizer: Any = HFTokenizer(str(folder), tokenizer_mode=mode, **options)
                if mode == AS_TRANSFORMERS:
                    # Its own tokenizer does all that transformers does to a text.
                    self.tokenizer.clean_fn = str
                self.tokenizer(UNUSUAL)  # a broken one fails here, with the file's name
            inner = self.tokenizer.tokenizer
            if inner.unk_token_id not in (None, inner.eos_token_id):  # CLIP's own names its end
                self.unknown_id = inner.unk_token_id
        else:
            self.tokenizer = _shared_tokenizer(json.dumps(options))
        text = self.text_tower
        if isinstance(text, TextTransformer) and text.attn_mask is not None:
            text.transformer.register_forward_pre_hook(_cut_mask, with_kwargs=True)
        size: Any = self.image_tower.image_size
        # All configurations of open_clip have square pictures.
        self.image_size = int(size[0] if isinstance(size, tuple | list) else size)
        preprocessing = PreprocessCfg(**{**spec.preprocessing, "size": self.image_size})
        self.transform = image_transform_v2(preprocessing, is_train=False)
        self.architecture = Architecture(
            kind="open_clip",
            name=spec.name,
            embed_dim=spec.config["embed_dim"],
            context_length=self.tokenizer.context_length,
            quick_gelu=bool(spec.config.get("quick_gelu", False)),
            causal_text=_reads_to_the_end_token(text),
        )
        self.eval()

    def header(self) -> dict[str, Any]:
        """The fields for `from_header`."""
        spec = self.spec
        return {
            "open_clip": {"config": spec.config, "preprocessing": spec.preprocessing},
            "text_files": spec.text_files,
        }

    @classmethod
    def from_header(cls, header: dict[str, Any]) -> "OpenClip":
        """The model that a checkpoint's header describes, with random weights."""
        parts = header["open_clip"]
        name, files = header["architecture"]["name"], header["text_files"]
        spec = ClipSpec(name, parts["config"], parts["preprocessing"], files)
        return cls(spec, build_clip(spec))

    def tokenize(self, texts: Sequence[str]) -> Tokens:
        """open_clip's ids, padded to the longest text."""
        context = self.architecture.context_length
        # This is what its call does, without padding all texts to the context.
        if isinstance(self.tokenizer, SimpleTokenizer) and self.tokenizer.reduction_fn is None:
            start, end = self.tokenizer.sot_token_id, self.tokenizer.eot_token_id
            rows = [[start, *self.tokenizer.encode(text), end] for text in texts]
            return pad_rows(rows, context)
        truncated = self._longer_than(texts, context)
        ids = self.tokenizer(list(texts), context_length=context)
        filled = (ids != self.pad_id).any(0).nonzero()  # columns that are not padding in all texts
        return Tokens(ids[:, : int(filled.max()) + 1 if len(filled) else 1], truncated)

    def _longer_than(self, texts: Sequence[str], context: int) -> int:
        """Number of texts that are longer than the context.

        The ids do not show it: SigLIP pads with the end token, and CLIPA strips it.
        """
        tokenizer = self.tokenizer
        if isinstance(tokenizer, SimpleTokenizer):
            ids = tokenizer(list(texts), context_length=context + 1)
            return int((ids[:, -1] != self.pad_id).sum())
        clips = tokenizer.tokenizer_mode == "clips"  # reserves three positions for special tokens
        longest = context - 3 if clips else context
        rows = tokenizer.tokenizer(
            [tokenizer.clean_fn(text) for text in texts],
            add_special_tokens=not clips,
            truncation=True,  # one more token than fits is enough to know
            max_length=longest + 1,
        ).input_ids
        return sum(len(row) > longest for row in rows)

    @property
    def pad_id(self) -> int:
        """The padding id."""
        if isinstance(self.tokenizer, SimpleTokenizer):
            return 0
        return int(self.tokenizer.tokenizer.pad_token_id or 0)

    def encode_tokens(self, ids: Tensor) -> Tensor:
        """Unit text vectors [batch, embed_dim].

        A tower that is not causal and does not mask padding (SigLIP, CoCa) gets its full context,
        as in its training. For other towers, padding has no effect and is omitted.
        """
        ids = pad(ids, (0, self.computed_length(ids.shape[1]) - ids.shape[1]), value=self.pad_id)
        return normalize(_first(self.text_tower(ids)).float(), dim=-1)

    def computed_length(self, length: int) -> int:
        """The full context for a tower that is not causal and does not mask padding."""
        if self.architecture.causal_text or isinstance(self.text_tower, HFTextEncoder):
            return length
        return self.architecture.context_length

    def preprocess(self, image: Image.Image) -> Tensor:
        """Pixels preprocessed as in open_clip for this model."""
        pixels: Tensor = self.transform(image)
        return pixels

    def embed_pixels(self, pixels: Tensor) -> Tensor:
        """Image vectors [batch, embed_dim], not normalised."""
        return _first(self.image_tower(pixels)).float()

    def project_images(self, features: Tensor) -> Tensor:
        """Unit image vectors; the projection is part of the frozen tower."""
        return normalize(features.float(), dim=-1)

    def image_key(self) -> str:
        """Hash of the image tower and the preprocessing."""
        facts = json.dumps([self.spec.preprocessing, self.image_size], sort_keys=True)
        weights = self.image_tower.state_dict()
        # The activation has no weights.
        facts += f"{self.architecture.quick_gelu}"
        return f"open_clip-{hash_tensors({**weights, facts: torch.zeros(0)})}"


def _first(output: Tensor | tuple[Tensor, ...]) -> Tensor:
    """The pooled vector of a tower that may also return token states."""
    return output if isinstance(output, Tensor) else output[0]


def _reads_to_the_end_token(text: nn.Module) -> bool:
    """Whether a text's vector is independent of everything after its end token."""
    return (
        isinstance(text, TextTransformer)
        and text.attn_mask is not None
        and text.cls_emb is None
        and text.pool_type in ("argmax", "eos")
    )


def _cut_mask(
    module: nn.Module, arguments: tuple[Any, ...], options: dict[str, Any]
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Cut the causal mask to the length of the texts; open_clip passes the mask of the context."""
    mask, length = options.get("attn_mask"), arguments[0].shape[1]
    if isinstance(mask, Tensor) and mask.ndim == 2:
        options = {**options, "attn_mask": mask[:length, :length]}
    return arguments, options
