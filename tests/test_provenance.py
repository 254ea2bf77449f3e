"""Recorded and displayed addresses contain no secret."""

import pytest

from paraclip.provenance import without_secrets


@pytest.mark.parametrize(
    "user", ["me:secret@", "me:se@cret@", "me:se/cret@", "me:se?cret@", "secret@", "me:se#cret@"]
)
def test_no_part_of_a_password_is_shown(user: str) -> None:
    shown = without_secrets(f"https://{user}host:80/v1?token=cret")
    assert shown == "https://host:80/v1?..."


def test_a_key_in_the_path_of_an_http_address_is_hidden() -> None:
    shown = without_secrets("--base-url=https://host/v1/0a1b2c3d4e5f6071/openai and x")
    assert shown == "--base-url=https://host/v1/***/openai and x"


def test_an_address_without_secrets_stays() -> None:
    for text in ("https://host/v1", "captions.csv", "mail me@host"):
        assert without_secrets(text) == text
