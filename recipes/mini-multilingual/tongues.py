"""The languages of mini-multilingual, and the codes that collections write them with."""

from __future__ import annotations

LANGUAGES = (
    "ar bg bn ca cs da de el en es et eu fa fi fr gl gu he hi hr hu id it ja ko lt lv ml mr ms nl no pl pt ro ru "
    "sk sl sr sv sw ta te th tr uk ur vi zh"
).split()
# ISO 639-2 and 639-3 codes of the same, of Norwegian's two forms, of Standard Arabic and of Mandarin.
CODES = dict(
    pair.split(":")
    for pair in (
        "ara:ar arb:ar bul:bg ben:bn cat:ca ces:cs dan:da deu:de ell:el eng:en spa:es est:et eus:eu fas:fa pes:fa "
        "fin:fi fra:fr glg:gl guj:gu heb:he hin:hi hrv:hr hun:hu ind:id ita:it jpn:ja kor:ko lit:lt lav:lv lvs:lv "
        "mal:ml mar:mr msa:ms zsm:ms nld:nl nor:no nob:no nb:no pol:pl por:pt ron:ro rus:ru slk:sk slv:sl srp:sr "
        "swe:sv swa:sw swh:sw tam:ta tel:te tha:th tur:tr ukr:uk urd:ur vie:vi zho:zh cmn:zh"
    ).split()
)


def tongue(code: str) -> str | None:
    """`pt_BR`, `zh-TW`, `srp-Cyrl`, `por` and the like as one of LANGUAGES; None where it is none of them."""
    first = code.replace("_", "-").replace("@", "-").split("-")[0].lower()
    first = CODES.get(first, first)
    return first if first in LANGUAGES else None
