"""Write a PEFT LoRA of a Llama-shaped model as a GGUF adapter that llama.cpp loads."""

from pathlib import Path
from typing import Any

import gguf
import numpy as np

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


def tensors_of(model: Any) -> dict[str, np.ndarray]:
    """llama.cpp's name to float32 matrix, for every LoRA factor of the model."""
    config = model.config
    heads = {"attn_q": config.num_attention_heads, "attn_k": config.num_key_value_heads}
    tensors = {}
    for index, layer in enumerate(model.get_base_model().model.layers):
        for path, name in NAMES.items():
            module = layer.get_submodule(path)
            if not hasattr(module, "lora_A"):
                continue
            down, up = (
                part["default"].weight.detach().float().numpy()
                for part in (module.lora_A, module.lora_B)
            )
            tensors[f"blk.{index}.{name}.weight.lora_a"] = down  # [r, in]
            tensors[f"blk.{index}.{name}.weight.lora_b"] = (  # [out, r]
                permute(up, heads[name]) if name in heads else up
            )
    return tensors


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
