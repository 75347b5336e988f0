"""Figs. 5-6: how images, masks, confidence maps, clicks and proposals are drawn, and how a page of them is laid out.

A click is a red disc with a plus (object) or a blue one with a minus (background), a proposal a star: shapes differ,
not colours alone. A mask is a light tint with an outline, so that the object stays visible.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageChops, ImageDraw, ImageFilter, ImageFont

from support.files import atomic

TILE = 200  # height of a picture, pixels
WIDEST = 320  # of a picture, pixels
NARROWEST = 150  # of a column, pixels: room for its text
GAP, MARGIN, TOP, LINE = 10, 24, 92, 30  # between columns, around the page, above and below the pictures, pixels
FINE = 4  # supersampling of what is drawn
PAPER, INK, GREY, BLANK = (251, 249, 245), (38, 36, 50), (110, 106, 118), (233, 229, 222)
BLUE, GREEN, RED, GOLD = (60, 140, 255), (30, 150, 90), (205, 45, 60), (255, 205, 40)
RAMP = ((20, 16, 60), (80, 30, 120), (190, 55, 105), (245, 130, 50), (250, 235, 130))  # low to high confidence

Row = Sequence[tuple[Image.Image, str]]  # of a page: pictures of one size, and a line of text below each


# ---- pictures --------------------------------------------------------------------------------------------------------


def plain(image: np.ndarray) -> Image.Image:
    """An (H, W, 3) uint8 image, TILE pixels high or WIDEST wide."""
    h, w = image.shape[:2]
    scale = min(TILE / h, WIDEST / w)
    return Image.fromarray(image).resize((max(1, round(w * scale)), max(1, round(h * scale))), Image.Resampling.LANCZOS)


def masked(image: np.ndarray, mask: Any, colour: tuple[int, int, int] = BLUE) -> Image.Image:
    """An image with an (H, W) bool mask: tinted, and outlined in white within a dark line."""
    picture = plain(image)
    grey = Image.fromarray(torch.as_tensor(mask).cpu().numpy().astype(np.uint8) * 255)
    wide = grey.resize((2 * picture.width, 2 * picture.height), Image.Resampling.BILINEAR)
    inside = wide.point(lambda v: 255 * (v > 127))
    grown = [inside, inside.filter(ImageFilter.MaxFilter(5)), inside.filter(ImageFilter.MaxFilter(9))]
    tint, inner, outer = (layer.resize(picture.size, Image.Resampling.BOX) for layer in grown)
    picture.paste(colour, mask=tint.point(lambda v: v * 0.15))
    picture.paste(INK, mask=ImageChops.subtract(outer, inner))
    picture.paste((255, 255, 255), mask=ImageChops.subtract(inner, tint))
    return picture


def heated(image: np.ndarray, confidence: torch.Tensor) -> Image.Image:
    """An (H, W) confidence map from dark to yellow over the image in grey."""
    v = confidence.detach().cpu().double().numpy()
    v = (v - v.min()) / max(v.max() - v.min(), 1e-6)
    stops = np.linspace(0, 1, len(RAMP))
    colours = np.stack([np.interp(v, stops, channel) for channel in np.array(RAMP).T], axis=2).astype(np.uint8)
    return Image.blend(plain(image).convert("L").convert("RGB"), plain(colours), 0.72)


def blank(image: np.ndarray, text: str) -> Image.Image:
    """A light picture of the image's size that says why there is none."""
    picture = Image.new("RGB", plain(image).size, BLANK)
    middle = picture.width / 2, picture.height / 2
    ImageDraw.Draw(picture).multiline_text(middle, text, GREY, _font(14), "mm", align="center")
    return picture


def marked(picture: Image.Image, shape: Sequence[int], clicks: Sequence[Sequence], star=None) -> Image.Image:
    """The picture with clicks (row, col, positive) and a proposal (row, col), in pixels of an image of `shape`."""
    for row, col, kind in [*clicks, *([(*star, None)] if star is not None else [])]:
        sign = marker(kind)
        x, y = (col + 0.5) * picture.width / shape[1], (row + 0.5) * picture.height / shape[0]
        picture.paste(sign, (round(x - sign.width / 2), round(y - sign.height / 2)), sign)
    return picture


def marker(positive: bool | None, radius: int = 8) -> Image.Image:
    """A click on the object (True) or the background (False), or a proposal (None): RGBA with soft edges."""
    reach = radius + 4
    c, r = reach * FINE, radius * FINE
    large = Image.new("RGBA", (2 * c, 2 * c), (255, 255, 255, 0))
    draw = ImageDraw.Draw(large)
    if positive is None:
        for size, colour in ((1.5, INK), (1.32, (255, 255, 255)), (1.02, GOLD)):
            angle = np.pi * np.arange(10) / 5
            spike = size * r * np.where(np.arange(10) % 2, 0.5, 1.0)
            points = np.stack([c + spike * np.sin(angle), c - spike * np.cos(angle)], axis=1)
            draw.polygon(points.ravel().tolist(), colour)
    else:
        for size, colour in ((r, INK), (r - 3, (255, 255, 255)), (r - 8, RED if positive else BLUE)):
            draw.ellipse((c - size, c - size, c + size, c + size), colour)
        draw.rectangle((c - r / 2, c - r / 8, c + r / 2, c + r / 8), (255, 255, 255))
        if positive:
            draw.rectangle((c - r / 8, c - r / 2, c + r / 8, c + r / 2), (255, 255, 255))
    return large.resize((2 * reach, 2 * reach), Image.Resampling.BOX)


# ---- pages -----------------------------------------------------------------------------------------------------------


def page(title: str, headings: Sequence[str], rows: Sequence[Row], file: Path) -> None:
    """Write a PNG: a title, what the signs mean, a heading over each column, and rows of pictures with captions."""
    column = max(NARROWEST, *(picture.width for row in rows for picture, _ in row))
    step, heights = column + GAP, [max(picture.height for picture, _ in row) for row in rows]
    height = 2 * MARGIN + TOP + sum(heights) + LINE * len(heights)
    sheet = Image.new("RGB", (2 * MARGIN + len(headings) * step - GAP, height), PAPER)
    draw = ImageDraw.Draw(sheet)
    draw.text((MARGIN, MARGIN), _cut(title, sheet.width - 2 * MARGIN, 20), INK, _font(20))
    x = float(MARGIN)
    for kind, text in ((None, "proposal"), (True, "click on the object"), (False, "click on the background")):
        sign = marker(kind)
        sheet.paste(sign, (round(x), MARGIN + 33), sign)
        draw.text((x + 28, MARGIN + 45), text, GREY, _font(13), "lm")
        x += 48 + draw.textlength(text, _font(13))
    y = MARGIN + 68
    for k, heading in enumerate(headings):
        draw.text((MARGIN + k * step + column / 2, y + 8), _cut(heading, column, 15), INK, _font(15), "mm")
    y += 24
    for row, height in zip(rows, heights, strict=True):
        for k, (picture, caption) in enumerate(row):
            left = MARGIN + k * step
            sheet.paste(picture, (left + (column - picture.width) // 2, y), _corners(picture.size))
            below = left + column / 2, y + picture.height + 11
            draw.text(below, _cut(caption, column, 13), GREY, _font(13), "mm")
        y += height + LINE
    with atomic(file) as temporary:
        sheet.save(temporary, format="png")


def _corners(size: tuple[int, int]) -> Image.Image:
    """The stencil of a picture with round corners."""
    stencil = Image.new("L", (size[0] * FINE, size[1] * FINE))
    ImageDraw.Draw(stencil).rounded_rectangle((0, 0, stencil.width - 1, stencil.height - 1), 8 * FINE, 255)
    return stencil.resize(size, Image.Resampling.BOX)


def _cut(text: str, width: float, size: int) -> str:
    """One line of text that fits."""
    whole = text = " ".join(text.split())
    font = _font(size)
    while text and font.getlength(text if text == whole else f"{text}...") > width:
        text = text[:-1]
    return text if text == whole else f"{text}..."


def _font(size: int) -> Any:
    return ImageFont.load_default(size)
