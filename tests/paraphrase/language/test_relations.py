"""Agents and their actions, and the nouns that adjectives describe."""

import pytest

from paraclip.data.triples import read_triples
from paraclip.paraphrase.language.relations import roles_changed
from paraclip.paraphrase.language.words import words

VERBS = {"chases": "chased", "pushes": "pushed", "follows": "followed", "watches": "watched"}
PAIRS = [
    ("dog", "cat"), ("boy", "horse"), ("girl", "man"), ("lion", "zebra"), ("nurse", "patient"),
    ("woman", "bird"), ("sheep", "dog"), ("teacher", "child"),
]  # fmt: skip


@pytest.mark.parametrize(("one", "other"), PAIRS)
@pytest.mark.parametrize("verb", VERBS)
def test_exchanged_actors_are_caught_and_passives_pass(one: str, other: str, verb: str) -> None:
    active = words(f"a {one} {verb} a {other}")
    assert roles_changed(active, words(f"a {other} {verb} a {one}"))
    assert not roles_changed(active, words(f"a {other} is {VERBS[verb]} by a {one}"))


@pytest.mark.parametrize(
    ("source", "answer"),
    [
        ("A dog pulls a child on a sled.", "A child pulls a dog on a sled."),
        ("A lion chases a zebra.", "A lion is chased by a zebra."),
        ("A dog is trained by a girl.", "A girl is trained by a dog."),
        ("A black dog barks at a white horse.", "A white horse is barking at a black dog."),
        ("A boy in a striped shirt whispers to a girl in a yellow dress.",
         "A boy in a yellow shirt whispers to a girl in a striped dress."),
        ("A woman hands bread to a man.", "A woman is handed bread to a man."),
        ("A man paints a fence white.", "A man is painting a white fence."),
    ],
)  # fmt: skip
def test_changed_roles_are_found(source: str, answer: str) -> None:
    assert roles_changed(words(source), words(answer))


@pytest.mark.parametrize(
    ("source", "answer"),
    [
        ("A dog pulls a child on a sled.", "A child is pulled on a sled by a dog."),
        ("A dog barks at a horse.", "A dog is barking at a horse by a gate."),
        ("The boy hides behind his mother.", "Behind his mother, a young boy hides."),
        ("A man and a dog rest.", "A dog and a man rest."),
        ("A dog is walked by a man.", "A man walks a dog."),
        ("A dog runs while a cat sleeps.", "A cat sleeps while a dog runs."),
        ("A boy chases a boy.", "A boy is chased by a boy."),
        ("A boy in a striped shirt whispers to a girl in a yellow dress.",
         "A boy whose shirt is striped and a girl in a yellow dress."),
        ("A woman hands bread to a man.", "Bread is handed to a man by a woman."),
        ("A man paints a fence white.", "A fence is painted white by a man."),
        ("a little Asian girl", "an Asian little girl"), ("Fence white", "A white fence"),
        ("A dog is covered in mud.", "Covered in mud is a dog."),
    ],
)  # fmt: skip
def test_another_order_is_no_other_role(source: str, answer: str) -> None:
    assert not roles_changed(words(source), words(answer))


@pytest.mark.parametrize("column", ["caption", "paraphrase_1", "paraphrase_2"])
def test_a_copy_of_a_text_of_the_starter_set_changes_nothing(column: str) -> None:
    for text in read_triples("starter")[column].to_pylist()[::3]:
        assert not roles_changed(words(text), words(text)), text
