"""Write a PEFT LoRA of a Llama-shaped model as a GGUF adapter that llama.cpp loads."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import torch
from torch import Tensor

NAMES = {
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
}


def permute(rows: np.ndarray, heads: int) -> np.ndarray:
    """Rows of a query or key projection [heads*size, r]: halves (transformers) to pairs.

    transformers rotates the first half of a head against the second, llama.cpp rotates neighbours.
    transformers reorders the base weights when it reads the GGUF; this is the inverse.
    """
    half = rows.shape[0] // heads // 2
    return rows.reshape(heads, 2, half, -1).swapaxes(1, 2).reshape(rows.shape)


def unpermute(rows: np.ndarray, heads: int) -> np.ndarray:
    """The inverse of `permute`."""
    half = rows.shape[0] // heads // 2
    return rows.reshape(heads, half, 2, -1).swapaxes(1, 2).reshape(rows.shape)


def tensors_of(model: Any) -> dict[str, np.ndarray]:
    """llama.cpp's name to float32 matrix, for every LoRA factor of the model."""
    heads, tensors = heads_of(model), {}
    for name, down, up in factors(model):
        tensors[f"{name}.weight.lora_a"] = down.detach().float().numpy()  # [r, in]
        rows = up.detach().float().numpy()  # [out, r]
        kind = name.rpartition(".")[2]
        tensors[f"{name}.weight.lora_b"] = permute(rows, heads[kind]) if kind in heads else rows
    return tensors


def heads_of(model: Any) -> dict[str, int]:
    """Number of heads of the matrices that llama.cpp stores in another order."""
    config = model.config
    return {"attn_q": config.num_attention_heads, "attn_k": config.num_key_value_heads}


def factors(model: Any) -> Iterator[tuple[str, Tensor, Tensor]]:
    """llama.cpp's name, lora_A [r, in] and lora_B [out, r] of every adapted matrix."""
    for index, layer in enumerate(model.get_base_model().model.layers):
        for path, name in NAMES.items():
            module = layer.get_submodule(path)
            if hasattr(module, "lora_A"):
                down, up = (part["default"].weight for part in (module.lora_A, module.lora_B))
                yield f"blk.{index}.{name}", down, up


def read_adapter(model: Any, path: Path) -> None:
    """Set the LoRA factors of the model to those of an adapter of `write_adapter`.

    Raises:
        ValueError: the adapter has another rank or adapts other matrices.
    """
    stored = {one.name: one for one in gguf.GGUFReader(path).tensors}
    heads, names = heads_of(model), set()
    for name, down, up in factors(model):
        kind = name.rpartition(".")[2]
        for suffix, weight in (("lora_a", down), ("lora_b", up)):
            whole = f"{name}.weight.{suffix}"
            names.add(whole)
            rows = gguf.quants.dequantize(stored[whole].data, stored[whole].tensor_type)
            if suffix == "lora_b" and kind in heads:
                rows = unpermute(rows, heads[kind])
            if rows.shape != tuple(weight.shape):
                raise ValueError(f"{whole}: {rows.shape}, but the model has {tuple(weight.shape)}")
            weight.data.copy_(torch.from_numpy(rows.astype(np.float32)))
    if names != set(stored):
        raise ValueError(f"{path} adapts other matrices: {sorted(names ^ set(stored))[:3]}")


def write_adapter(model: Any, path: Path) -> None:
    """Write the adapter; factors whose rows divide into blocks of 32 as Q8_0, others as fp16."""
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_type(gguf.GGUFType.ADAPTER)
    writer.add_string(gguf.Keys.Adapter.TYPE, "lora")
    writer.add_float32(gguf.Keys.Adapter.LORA_ALPHA, float(model.peft_config["default"].lora_alpha))
    writer.add_name("ParaCLIP paraphraser for SmolLM2-135M-Instruct")
    for name, tensor in tensors_of(model).items():
        if tensor.shape[1] % 32 == 0:
            kind = gguf.GGMLQuantizationType.Q8_0
            writer.add_tensor(name, gguf.quants.quantize(tensor, kind), raw_dtype=kind)
        else:
            writer.add_tensor(name, tensor.astype(np.float16))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
