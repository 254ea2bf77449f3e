"""Tiny models with random weights, and drawn pictures."""

import json
from pathlib import Path

import torch
from PIL import Image, ImageDraw

from paraclip.models.openclip import ClipSpec, OpenClip, build_clip
from paraclip.models.sources import TextFiles

WORDS = ["a", "red", "green", "blue", "disc", "square", "on", "white", "paper", "small", "large"]
TINY_CLIP = {
    "embed_dim": 16,
    "vision_cfg": {"image_size": 32, "layers": 1, "width": 32, "head_width": 16, "patch_size": 16},
    "text_cfg": {"context_length": 12, "vocab_size": 49408, "width": 32, "heads": 2, "layers": 2},
}

ROBERTA = {
    **TINY_CLIP,
    "text_cfg": {
        "hf_model_name": "someone/tower",
        "hf_tokenizer_name": "someone/tower",
        "hf_pooler_type": "mean_pooler",
        "context_length": 12,
    },
}


def word_files(kind: str, hidden: int = 32) -> TextFiles:
    """Configuration and tokenizer of a tiny BERT or RoBERTa that knows a dozen words."""
    from tokenizers import Tokenizer, models, pre_tokenizers, processors

    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]"]
    vocabulary = {word: place for place, word in enumerate([*special, *WORDS])}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    config = {
        "model_type": kind,
        "hidden_size": hidden,
        "num_attention_heads": 2,
        "num_hidden_layers": 2,
        "intermediate_size": 2 * hidden,
        "vocab_size": len(vocabulary),
        "max_position_embeddings": 40,
        "pad_token_id": 0,
    }
    names = {"pad_token": "[PAD]", "unk_token": "[UNK]", "cls_token": "[CLS]", "sep_token": "[SEP]"}
    return {
        "config.json": json.dumps(config),
        "tokenizer.json": tokenizer.to_str(),
        "tokenizer_config.json": json.dumps(
            {"tokenizer_class": "PreTrainedTokenizerFast", "model_max_length": 40, **names}
        ),
    }


def tiny_clip(**changes: object) -> OpenClip:
    """A CLIP in open_clip's layout, thousands of times smaller."""
    torch.manual_seed(0)
    spec = ClipSpec("tiny", {**TINY_CLIP, **changes}, {})
    return OpenClip(spec, build_clip(spec))


def roberta_clip(files: TextFiles | None = None) -> OpenClip:
    """A tiny CLIP with a RoBERTa text tower."""
    torch.manual_seed(0)
    spec = ClipSpec("roberta", ROBERTA, {}, files or word_files("roberta"))
    return OpenClip(spec, build_clip(spec))


def draw(path: Path, shape: str, colour: str, size: tuple[int, int] = (40, 30)) -> str:
    """A disc or square of a colour on white."""
    image = Image.new("RGB", size, "white")
    pen = ImageDraw.Draw(image)
    (pen.ellipse if shape == "disc" else pen.rectangle)((5, 5, 25, 25), fill=colour)
    image.save(path)
    return str(path)
