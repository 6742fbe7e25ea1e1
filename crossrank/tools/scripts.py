"""Languages -> the scripts that they are written in, and which pieces of a vocabulary are in a script."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from tokenizers import Regex, normalizers

from crossrank.errors import InputError

__all__ = ["LANGUAGES", "scripts_of", "within"]

# ISO 639-1 codes by Unicode's names of scripts; a language with several is in several rows.
_WRITTEN_IN = {
    "Arabic": "ar fa ku ps sd ug ur",
    "Armenian": "hy",
    "Bengali": "as bn",
    "Cyrillic": "be bg kk ky mk mn ru sr tg tt uk uz",
    "Devanagari": "hi mr ne sa",
    "Ethiopic": "am ti",
    "Georgian": "ka",
    "Greek": "el",
    "Gujarati": "gu",
    "Gurmukhi": "pa",
    "Han": "ja ko zh",
    "Hangul": "ko",
    "Hebrew": "he yi",
    "Hiragana": "ja",
    "Kannada": "kn",
    "Katakana": "ja",
    "Khmer": "km",
    "Lao": "lo",
    "Latin": "af az br bs ca cs cy da de en eo es et eu fi fo fr fy ga gd gl ha hr hu id ig is it jv ku la lb lt lv mg "
    "mi ms mt nb nl nn no ny oc om pl pt ro rw sk sl sn so sq sr su sv sw tl tn tr uz vi wo xh yo zu",
    "Malayalam": "ml",
    "Myanmar": "my",
    "Oriya": "or",
    "Sinhala": "si",
    "Tamil": "ta",
    "Telugu": "te",
    "Thai": "th",
    "Tibetan": "bo dz",
}
LANGUAGES = {
    code: tuple(script for script, codes in _WRITTEN_IN.items() if code in codes.split())
    for code in sorted({code for codes in _WRITTEN_IN.values() for code in codes.split()})
}


def scripts_of(languages: Sequence[str]) -> tuple[str, ...]:
    """The scripts of languages by their ISO 639-1 codes. InputError names the codes that are not known."""
    unknown = [code for code in languages if code not in LANGUAGES]
    if unknown:
        raise InputError(
            f"no scripts are known for language {', '.join(map(repr, unknown))}; name the script itself, "
            f"as Unicode does, or one of {' '.join(LANGUAGES)}"
        )
    return tuple(dict.fromkeys(script for code in languages for script in LANGUAGES[code]))


def within(scripts: Sequence[str]) -> Callable[[str], bool]:
    """Whether every character of a piece is of `scripts`, or of no script: digits, signs, combining marks.

    The names are Unicode's (https://www.unicode.org/Public/UNIDATA/Scripts.txt), as Oniguruma knows them.
    """
    for script in scripts:
        try:
            Regex(rf"\p{{{script}}}")
        except Exception as error:  # the bindings raise bare Exception
            raise InputError(f"Unicode has no script {script!r}; Latin, Cyrillic, Han, Hangul and so on are") from error
    inside = "".join(rf"\p{{{script}}}" for script in (*scripts, "Common", "Inherited"))
    # The one way to a Unicode script without another dependency: whatever is of another script is replaced.
    foreign = normalizers.Replace(Regex(f"[^{inside}]"), "\N{REPLACEMENT CHARACTER} ")
    return lambda piece: foreign.normalize_str(piece) == piece
