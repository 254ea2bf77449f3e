"""The backend for causal language models in this process."""

import asyncio
from collections.abc import Sequence
from typing import Any

from paraclip.errors import UserError, printable
from paraclip.models.loading import find_device
from paraclip.paraphrase.backends import Answer, AnswerError
from paraclip.paraphrase.backends.huggingface.files import find_files, load_model, load_tokenizer
from paraclip.paraphrase.backends.huggingface.pool import Asked, Pool
from paraclip.paraphrase.backends.openai_server import LONGEST_ANSWER, model_of
from paraclip.paraphrase.config import GenerateConfig
from paraclip.paraphrase.prompts import Prompt, plain_text, without_system


class TransformersBackend:
    """A folder, a GGUF file or a name on the hub; `start` loads the model.

    Args:
        config: model, device, precision, batch size and sampling.

    Raises:
        UserError: no model is named, or it is missing or cannot be downloaded.
    """

    def __init__(self, config: GenerateConfig) -> None:
        self.config = config
        self._device = find_device(config.device)
        self._files = find_files(model_of(config))
        temperature, top_p = config.sampling
        self.generator = f"{self._files.name} temperature={temperature} top_p={top_p}"
        self.identity = {"weights": self._files.fingerprint()}
        self._pool = Pool(self._generate, config.batch_size)
        self._tokenizer: Any = None
        self._model: Any = None

    async def start(self) -> None:
        """Load tokenizer and model; raises UserError if one is damaged or does not fit."""
        self._tokenizer = await asyncio.to_thread(load_tokenizer, self._files)
        load = asyncio.to_thread(load_model, self._files, self.config.dtype, self._device)
        self._model = await load

    async def answer(self, prompt: Prompt, candidates: int) -> list[Answer]:
        """See `Backend.answer`; the question waits for the next batch."""
        text, stop = self._text(prompt)
        special = not self._templated(prompt)  # a template adds its own
        tokens = tuple(self._tokenizer(text, add_special_tokens=special).input_ids)
        most = getattr(self._model.config, "max_position_embeddings", None)
        if most and len(tokens) + self.config.max_tokens > most:
            raise AnswerError(f"prompt and answer exceed the model's {most:,} tokens")
        return await self._pool.answer(Asked(tokens, stop, candidates))

    def _templated(self, prompt: Prompt) -> bool:
        return prompt.text is None and self._tokenizer.chat_template is not None

    def _text(self, prompt: Prompt) -> tuple[str, tuple[str, ...]]:
        """The prompt in the form that the model expects, and the strings that end the answer."""
        if prompt.text is not None:
            return prompt.text, prompt.stop
        messages = list(prompt.messages or ())
        if not self._templated(prompt):
            return plain_text(messages), ("\n",)
        return chat_text(self._tokenizer, messages), prompt.stop

    def _generate(self, batch: Sequence[Asked]) -> list[list[Answer]]:
        """Answers to a batch, which is halved while the device has too little memory."""
        import torch

        try:
            return self._answers(batch)
        except torch.OutOfMemoryError as error:
            if len(batch) == 1:
                hint = "Give fewer --candidates, or another --dtype or --device."
                what = f"{self._device} has too little memory"
                raise UserError("--batch-size", what, hint) from error
            half = len(batch) // 2
            return [*self._generate(batch[:half]), *self._generate(batch[half:])]
        except Exception as error:  # a damaged model, or one whose numbers overflow
            raise AnswerError(printable(" ".join(str(error).split()))[:300]) from error

    def _answers(self, batch: Sequence[Asked]) -> list[list[Answer]]:
        import torch

        longest = max(len(asked.tokens) for asked in batch)
        pad = self._tokenizer.pad_token_id
        ids = [[pad] * (longest - len(asked.tokens)) + list(asked.tokens) for asked in batch]
        mask = [[0] * (longest - len(asked.tokens)) + [1] * len(asked.tokens) for asked in batch]
        sampling, stop = self._sampling(batch[0].candidates), list(batch[0].stop)
        stops = {"stop_strings": stop, "tokenizer": self._tokenizer} if stop else {}
        with torch.inference_mode():
            output = self._model.generate(
                input_ids=torch.tensor(ids, device=self._device),
                attention_mask=torch.tensor(mask, device=self._device),
                max_new_tokens=self.config.max_tokens,
                pad_token_id=pad,
                **sampling,
                **stops,
            )  # rows x (prompt + answer)
        rows = output[:, longest:].tolist()
        each = sampling.get("num_return_sequences", 1)
        return [
            self._candidates(asked, rows[number * each : (number + 1) * each])
            for number, asked in enumerate(batch)
        ]

    def _sampling(self, candidates: int) -> dict[str, Any]:
        temperature, top_p = self.config.sampling
        if temperature == 0:
            return {"do_sample": False}
        sampling = {"temperature": temperature, "top_p": top_p, "top_k": 0}
        return {"do_sample": True, "num_return_sequences": candidates} | sampling

    def _candidates(self, asked: Asked, rows: list[list[int]]) -> list[Answer]:
        """The answers to one question; greedy decoding gives one answer for all candidates."""
        ends = end_tokens(self._model, self._tokenizer)
        answers, used = [], 0
        for row in rows:
            end = next((place for place, token in enumerate(row) if token in ends), None)
            tokens = row if end is None else row[:end]
            used += len(tokens)
            text = self._tokenizer.decode(tokens, skip_special_tokens=True)
            stopped = [place for stop in asked.stop if (place := text.find(stop, 1)) >= 0]
            cut = end is None and not stopped and len(row) >= self.config.max_tokens
            text = text[: min(stopped)] if stopped else text
            answers.append(Answer(text[:LONGEST_ANSWER], cut))
        answers[0] = Answer(answers[0].text, answers[0].cut, (len(asked.tokens), used))
        return answers + answers[:1] * (asked.candidates - len(answers))

    async def close(self) -> None:
        """Wait for the batch in progress and unload the model."""
        await self._pool.close()
        self._model = self._tokenizer = None


def chat_text(tokenizer: Any, messages: list[dict[str, str]]) -> str:
    """The chat in the model's template, without thinking if the template can disable it.

    Raises:
        UserError: the template is damaged.
    """
    from jinja2.exceptions import TemplateError

    options = {"tokenize": False, "add_generation_prompt": True, "enable_thinking": False}
    try:
        return str(tokenizer.apply_chat_template(messages, **options))
    except TemplateError:
        pass  # some templates reject the role "system"
    except Exception as error:
        raise bad_template(error) from error
    try:
        return str(tokenizer.apply_chat_template(without_system(messages), **options))
    except Exception as error:  # templates run code of their author
        raise bad_template(error) from error


def bad_template(error: Exception) -> UserError:
    """The error for a chat template that does not work."""
    reason = " ".join(f"{type(error).__name__}: {error}".split())[:200]
    hint = "Repair chat_template in the model's folder."
    return UserError("chat template", f"cannot be used ({reason})", hint)


def end_tokens(model: Any, tokenizer: Any) -> set[int]:
    """Ids of the tokens that end an answer."""
    ids = getattr(model.generation_config, "eos_token_id", None)
    ends = ids if isinstance(ids, list) else [ids]
    return {token for token in (*ends, tokenizer.eos_token_id) if token is not None}
