"""Two hundred texts of every kind, the unusual ones first."""

SUBJECTS = ["a red disc", "Two CATS", "the old man's bicycle", "a kid with a pizza box", "ein Hund"]
PLACES = ["on white paper", "at the beach in 2023", "under a bridge, at night", "(close-up)", "..."]
UNUSUAL = [
    *("", " ", "\t\n", "a", "!", "a photo of a cat", "A PHOTO OF A CAT", "a  photo\n of\ta cat"),
    *("word " * 100, "x" * 400, "one two three four five six seven eight nine ten, " * 12),
    *("😀", "👩‍👩‍👧 family at the 🏖️", "🏳️‍🌈 flag", "cat 🐱 dog 🐶 " * 30),
    *("一只猫在沙滩上", "猫和狗，还有一只鸟！", "中文 and English mixed", "猫" * 120),
    *("Ünïcödé ÀÉÎÕÜ ß", "naïve café", "cafe\u0301", "Привет, мир", "مرحبا بالعالم", "한국어 문장"),
    *("“quoted” and ‘single’", "it’s the dog’s", "salt &amp; pepper", "3 &lt; 4", "ﬁne ﬂag"),
    *(
        "don't I'll we've they're he'd",
        "1,000.50 $ 99%",
        "#tag @user https://x.org/?a=b",
        "a\u00a0b",
    ),
    *("\ufeffmark", "…ellipsis—dash", "snake_case camelCase", "C++ & C#", "日本語のテキスト"),
]
TEXTS = [
    *UNUSUAL,
    *(f"{subject} {place} {number}" for number in range(7) for subject in SUBJECTS
      for place in PLACES),
][:200]  # fmt: skip
