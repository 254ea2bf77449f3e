"""Requests and responses in OpenAI's format, for servers and for files of batches."""

import os
from collections.abc import Callable
from typing import Any

from paraclip.errors import UserError
from paraclip.paraphrase.backends import Answer, LLMOptions, tokens_in
from paraclip.paraphrase.prompts import Prompt

NEWER_LIMIT = "max_completion_tokens"  # newer OpenAI models use this name for max_tokens
OLLAMA = "http://localhost:11434/v1 for Ollama"
"""An address for hints."""
_LONGEST_ANSWER = 4000  # characters kept of one answer


def model_of(options: LLMOptions) -> str:
    """The server's name of the model; raises UserError if none is given."""
    model = options.model or os.environ.get("PARACLIP_MODEL", "")
    if not model:
        server = f"OPENAI_BASE_URL or --base-url ({OLLAMA})"
        hint = f"Set it, or give --model to `paraclip generate`; its server is {server}."
        raise UserError("PARACLIP_MODEL", "the server's model is not named", hint)
    return model


def generator_of(model: str, options: LLMOptions) -> str:
    """Model name and sampling, which identify the generator in a log of answers."""
    return f"{model} temperature={options.temperature} top_p={options.top_p}"


def request_of(
    model: str, options: LLMOptions, prompt: Prompt, count: int, limit_name: str
) -> tuple[str, dict[str, Any]]:
    """Endpoint and body of a request for `count` candidates; `limit_name` is the server's name
    for the maximum number of answer tokens."""
    body: dict[str, Any] = {
        "model": model, "temperature": options.temperature, "top_p": options.top_p,
        limit_name: options.max_tokens,
    }  # fmt: skip
    if count > 1:
        body["n"] = count
    if prompt.stop:
        body["stop"] = list(prompt.stop)
    if prompt.text is not None:
        return "/completions", body | {"prompt": prompt.text}
    return "/chat/completions", body | {"messages": list(prompt.messages or ())}


def may_pass(status: int) -> bool:
    """Whether a request with this HTTP status may succeed later."""
    return status in (408, 409, 425, 429) or status >= 500


def answers_in(response: Any, hide: Callable[[str], str] = str) -> list[Answer]:
    """The candidates in a response (JSON of any shape); the first carries the tokens of all. Raises
    ValueError if there are none, or one is malformed."""
    answers: list[Answer] = []
    try:
        for choice in response["choices"]:
            text = choice["message"]["content"] if "message" in choice else choice["text"]
            text = "" if text is None else text  # None means that the model refused
            if not isinstance(text, str):
                raise TypeError("the text is not a string")
            text = hide(text).encode("utf-8", "replace").decode()  # replaces lone surrogates
            cut = choice.get("finish_reason") == "length" or len(text) > _LONGEST_ANSWER
            tokens = (0, 0) if answers else _tokens_used(response)
            answers.append(Answer(text[:_LONGEST_ANSWER], cut, tokens))
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError("the response has no choices, or one without a text") from error
    if not answers:
        raise ValueError("the response has no choices")
    return answers


def _tokens_used(response: Any) -> tuple[int, int]:
    """Tokens of the prompt and of the answers as reported by a response, or else zeros."""
    usage = response.get("usage") if isinstance(response, dict) else None
    usage = usage if isinstance(usage, dict) else {}
    counts = [usage.get(name) for name in ("prompt_tokens", "completion_tokens")]
    prompt, answers = tokens_in({"tokens": counts})
    return prompt, answers
