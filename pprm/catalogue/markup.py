"""The text that a reader of HTML sees.

Tags and entities are removed, so that markup does not move a product's vector.

Patterns are used instead of html.parser, which takes quadratic time: 2.4 s for 8 kB of `<a <a <a`,
in the worker's event loop. These never look at a character twice: what they skip ends at the next
`<`, or where it has no end, at the text's.
"""

import re
from html import unescape

LAYERS = 3
"""Markup may itself be escaped, `&lt;p&gt;`, and once more: so often it is taken off."""

_INLINE = """a abbr acronym b bdi bdo big cite code del dfn em font i ins kbd mark q s samp small
span strike strong sub sup tt u var wbr"""
_BLOCK = """address applet area article aside audio base blink blockquote body br button canvas
caption center col colgroup data datalist dd details dialog dir div dl dt embed fieldset figcaption
figure footer form frame frameset h1 h2 h3 h4 h5 h6 head header hgroup hr html iframe img input
label legend li link main map marquee menu meta meter nav noscript object ol optgroup option output
p param picture pre progress rp rt ruby section select slot source summary svg table tbody td
template textarea tfoot th thead time title tr track ul video"""
"""Elements of HTML, obsolete ones included. Other tags are text: `x<y and y>z`.

https://html.spec.whatwg.org/#elements-3
"""
_SPACE = {**dict.fromkeys(_INLINE.split(), ""), **dict.fromkeys(_BLOCK.split(), " ")}
"""What an element is read as."""

_UNSEEN = re.compile(
    r"<!--.*?(?:-->|\Z)|<(script|style)\b[^<>]*>.*?(?:</\1\s*>|\Z)", re.DOTALL | re.IGNORECASE
)
_DECLARATION = re.compile(r"<!\[CDATA\[|\]\]>|<[!?][a-zA-Z][^<>]*>")
_TAG = re.compile(r"""</?([a-zA-Z][\w:-]*)(?>\s(?>[^<>"']+|"[^"<]*"|'[^'<]*'|["'])*)?/?>""")
_ENTITY = re.compile(r"&(?:#\d{1,7}|#[xX][\da-fA-F]{1,6}|[a-zA-Z]\w{1,31});")
_INVISIBLE = re.compile("[\u00ad\u200b\u2060\ufeff]")


def plain(text: str) -> str:
    """Text without markup; text that has none stays as it is, to the last space."""
    if "<" not in text and "&" not in text:
        return text
    seen = text
    for _ in range(LAYERS):
        before, seen = seen, _ENTITY.sub(lambda found: unescape(found[0]), _without_tags(seen))
        if seen == before:
            break
    return text if seen == text else " ".join(_INVISIBLE.sub("", seen).split())


def _without_tags(text: str) -> str:
    return _TAG.sub(_read, _DECLARATION.sub(" ", _UNSEEN.sub(" ", text)))


def _read(tag: re.Match[str]) -> str:
    name = tag[1].lower()
    return _SPACE.get(name, " " if ":" in name or "-" in name else tag[0])
