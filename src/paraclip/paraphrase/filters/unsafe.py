"""Rule that drops captions before any question: alt-texts of pornography.

The list contains words that name pornography and little else. It is not a safety filter for
pictures.
"""

import re

UNSAFE = re.compile(
    r"\b(?:porn\w*|xxx+|nsfw|hentai|milfs?|blowjobs?|handjobs?|deepthroat\w*|cumshots?|creampies?|"
    r"gangbangs?|threesomes?|bukkake|dildos?|camgirls?|upskirts?|masturbat\w+|fellatio|cunnilingus|"
    r"orgasm\w*|anal sex|oral sex|hardcore sex|sex (?:tapes?|videos?|cams?|toys?)|"
    r"(?:nude|naked|topless|horny|busty) (?:girls?|boys?|teens?|women|woman|wife|wives|babes?|"
    r"celebs?|celebrit\w+|selfies?|leak\w*)|escort (?:girls?|service)|child(?:ren)? porn\w*|"
    r"only ?fans leak\w*)\b",
    re.IGNORECASE,
)


def is_unsafe(caption: str) -> bool:
    """Whether a caption's words indicate pornography."""
    return bool(UNSAFE.search(caption))
