"""The vocabulary and the repair of texts are open_clip's, read without torch."""

from open_clip.tokenizer import SimpleTokenizer, basic_clean

from paraclip.models.sources import END, START, clean_text, vocabulary_and_merges


def test_the_vocabulary_is_open_clips() -> None:
    theirs = SimpleTokenizer()
    vocabulary, merges = vocabulary_and_merges()
    names = {"<start_of_text>": START, "<end_of_text>": END}
    assert vocabulary == {names.get(token, token): at for token, at in theirs.encoder.items()}
    assert merges == sorted(theirs.bpe_ranks, key=theirs.bpe_ranks.__getitem__)


def test_texts_are_repaired_as_in_open_clip() -> None:
    text = " \u201cCurly\u201d &amp;amp; it\u2019s a CafÃ© "
    assert clean_text(text) == basic_clean(text).lower()
