"""The HTML page that reports are: one file, no script, no request, figures as SVG inside it."""

from __future__ import annotations

import base64
import hashlib
import html
import re
from collections.abc import Iterator, Mapping, Sequence
from xml.etree import ElementTree

_LINK = "{http://www.w3.org/1999/xlink}href"
_REFERENCE = re.compile(r"url\(#([^)]+)\)")
_LONG_NUMBER = re.compile(r"-?\d+\.\d{3,}")
_FONT = re.compile(r"(?P<before>.*?)(?P<size>[\d.]+px)\s+(?P<family>.+)")


def page(
    title: str, body: str, facts: Mapping[str, str | Sequence[str]], *, wide: bool = False
) -> str:
    """Return a page with a foot that says where its numbers come from.

    Args:
        title: Plain text.
        body: HTML. Style attributes have no effect: the page allows its own style sheet only.
        facts: Plain text, name -> value or values, for the foot.
        wide: For tables with many columns; smaller type in them.
    """
    entries = []
    for name, value in facts.items():
        values = [value] if isinstance(value, str) else value
        told = "".join(f"<dd>{html.escape(text)}</dd>" for text in values)
        entries.append(f"<dt>{html.escape(name)}</dt>{told}")
    digest = base64.b64encode(hashlib.sha256(_CSS.encode()).digest()).decode()
    parts = {
        "digest": digest,
        "css": _CSS,
        "title": html.escape(title),
        "body": body,
        "facts": "".join(entries),
        "kind": "wide" if wide else "plain",
    }
    return re.sub(r"\{\{(\w+)\}\}", lambda match: parts[match[1]], _PAGE)


def inline_svg(svg: bytes, prefix: str, label: str = "") -> str:
    """Return a figure of matplotlib's as SVG that can stand in a page beside others.

    Ids that nothing refers to go, the others get the prefix; style attributes become attributes of
    their own, which the page's policy allows; coordinates keep two decimals.

    Args:
        svg: A whole SVG file.
        prefix: Another one for each figure of a page.
        label: What the figure shows, for who cannot see it; the element is then an image.
    """
    root = ElementTree.fromstring(svg)
    for parent in list(root.iter()):
        for child in list(parent):
            if _name(child) in ("metadata", "style"):
                parent.remove(child)
    used = {name for element in root.iter() for name in _references(element)}
    family = ""
    for element in root.iter():
        given = {**element.attrib, **_style(element.attrib.get("style", ""))}
        element.tag = _name(element)
        element.text, element.tail = element.text and element.text.strip(), None
        family = family or given.get("font-family", "")
        element.attrib.clear()
        for key, value in given.items():
            kept = _attribute(key, value, used, prefix)
            if kept is not None and not (key == "font-family" and value == family):
                element.set("href" if key == _LINK else key, kept)
    head = {"viewBox": root.attrib["viewBox"]}
    head |= {"role": "img", "aria-label": label} if label else {}
    head |= {"stroke-linejoin": "round", "stroke-linecap": "butt"}  # of the style sheet left out
    head |= {"font-family": family} if family else {}
    root.attrib.clear()
    root.attrib.update(head)
    return ElementTree.tostring(root, encoding="unicode")


def _name(element: ElementTree.Element) -> str:
    return element.tag.rpartition("}")[2]


def _references(element: ElementTree.Element) -> Iterator[str]:
    for key, value in element.attrib.items():
        yield from _REFERENCE.findall(value)
        if key in (_LINK, "href"):
            yield value.removeprefix("#")


def _attribute(key: str, value: str, used: set[str], prefix: str) -> str | None:
    """Return what an attribute becomes, or None where it goes."""
    if key == "id":
        return f"{prefix}-{value}" if value in used else None
    if key in (_LINK, "href"):
        return f"#{prefix}-{value.removeprefix('#')}"
    if key == "style" or (key == "transform" and value.startswith("rotate(-0 ")):
        return None
    value = _REFERENCE.sub(lambda match: f"url(#{prefix}-{match[1]})", value)
    value = _LONG_NUMBER.sub(lambda match: f"{float(match[0]):.2f}", value)
    if key == "d":
        value = re.sub(r"\s*([A-Za-z])\s*", r"\1", " ".join(value.split()))
    return value


def _style(text: str) -> dict[str, str]:
    """Return the declarations of a style attribute; the shorthand ``font`` in its parts."""
    found = {}
    for declaration in filter(str.strip, text.split(";")):
        name, _, value = (part.strip() for part in declaration.partition(":"))
        match = _FONT.fullmatch(value) if name == "font" else None
        if match is None:
            found[name] = value
            continue
        found |= {"font-size": match["size"], "font-family": match["family"]}
        for word in match["before"].split():
            if word in ("italic", "oblique"):
                found["font-style"] = word
            elif word.isdigit() or word == "bold":
                found["font-weight"] = word
    return found


_CSS = """
:root { color-scheme: light; }
body { margin: 0 auto; max-width: 62rem; padding: 1.5rem; color: #1b1f24; background: #fff;
  font: 16px/1.5 system-ui, "Segoe UI", "DejaVu Sans", sans-serif; }
h1 { font-size: 1.6rem; margin: 0 0 .5rem; } h2 { font-size: 1.2rem; margin: 2.2rem 0 .3rem; }
h3 { font-size: 1rem; margin: 1.4rem 0 .3rem; }
h1, h2, h3, p, li, dd, figcaption { overflow-wrap: anywhere; }
p { margin: .3rem 0 .8rem; max-width: 46rem; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; font-size: .92rem; }
th, td { padding: .28rem .6rem; text-align: right; border-bottom: 1px solid #e3e6ea;
  white-space: nowrap; }
th:first-child, th.text, td.text { text-align: left; }
thead th { border-bottom: 2px solid #9aa3ad; vertical-align: bottom; } th { font-weight: 600; }
td span { color: #66707b; } figure { margin: 1rem 0; } figure svg { width: 100%; height: auto; }
dl { display: grid; grid-template-columns: max-content 1fr; gap: .15rem 1rem; font-size: .9rem;
  color: #3c444d; }
dt { font-weight: 600; } dd { margin: 0; grid-column: 2; min-width: 0; }
body.wide { max-width: 74rem; }
.wide h2 { border-top: 1px solid #c9d0d7; padding-top: 1rem; }
.wide table { font-size: .78rem; } .wide th, .wide td { padding: .24rem .32rem; }
.wide thead th { white-space: normal; }
td.text.long { white-space: normal; min-width: 7rem; max-width: 34rem; overflow-wrap: anywhere; }
figcaption { font-size: .86rem; color: #3c444d;
  max-width: 46rem; }
.wide nav ul { margin: 0; padding: 0; display: flex; flex-wrap: wrap; gap: .1rem 1.2rem;
  list-style: none; font-size: .9rem; }
.wide a { color: #0a4f86; }
.two { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 26rem), 1fr));
  gap: 0 1.5rem; align-items: start; }
figure.middle svg { max-width: 46rem; } figure.wide svg { min-width: 38rem; }
.warning { border: 2px solid #b3261e; border-left-width: .6rem; background: #fff4f2;
  padding: .6rem 1rem; margin: 1rem 0; }
.warning h2 { margin: 0 0 .3rem; border: 0; padding: 0; }
.note { font-size: .9rem; color: #3c444d; }
@page { margin: 12mm; }
@media print { body { max-width: none; padding: 0; font-size: 10.5pt; }
  .whole, .scroll, figure, tr, p { break-inside: avoid; } h1, h2, h3 { break-after: avoid; }
  .wide section > p { break-after: avoid; }
  .scroll { overflow: visible; } figure.wide svg { min-width: 0; }
  figure.middle svg { max-width: 120mm; } nav { display: none; }
  .wide table { font-size: 6.9pt; } .wide th, .wide td { padding: 1.5pt 3pt; white-space: normal; }
  .wide td span { white-space: nowrap; } td.text.long { min-width: 0; }
  figcaption { font-size: 8.5pt; }
  .two { grid-template-columns: 1fr 1fr; } .warning { print-color-adjust: exact; } }
"""

_PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy"
  content="default-src 'none'; style-src 'sha256-{{digest}}'">
<title>{{title}}</title>
<style>{{css}}</style>
</head>
<body class="{{kind}}">
<h1>{{title}}</h1>
{{body}}
<h2>How these numbers were made</h2>
<dl>{{facts}}</dl>
</body>
</html>
"""
