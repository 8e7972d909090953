# Copyright 2026 The modeling_hyperset authors. Licensed under the Apache License, Version 2.0.
"""Every kind of picture file gives the pixels that a viewer shows, or an error that names the file."""

import io
import struct
import zlib

import numpy as np
import pytest
from datasets import Dataset
from PIL import Image

from hyperset_lab.images.data import ImageDataArguments, load_images
from hyperset_lab.images.pixels import as_shown, check_images, read_image
from hyperset_lab.masked_images.forms import to_pixels
from transformers import ViTImageProcessorPil


GREY = np.arange(0, 256, 4, dtype=np.uint8).reshape(8, 8)  # what a viewer shows
COLOUR = np.stack([GREY, GREY.T, 255 - GREY], axis=-1)


def stored(image: Image.Image, form: str = "PNG", **options) -> dict:
    """An image as a data set holds it."""
    file = io.BytesIO()
    image.save(file, form, **options)
    return {"bytes": file.getvalue(), "path": f"picture.{form.lower()}"}


def palette(transparent: bool) -> tuple[dict, np.ndarray]:
    image = Image.fromarray(np.repeat([[0], [1]], 2, axis=1).astype(np.uint8), "P")
    image.putpalette([200, 10, 10, 10, 10, 200])
    wanted = np.array([[[255] * 3 if transparent else [200, 10, 10]] * 2, [[10, 10, 200]] * 2])
    return stored(image, **({"transparency": 0} if transparent else {})), wanted


def with_alpha(mode: str) -> tuple[dict, np.ndarray]:
    """Clear, half and opaque black: white, grey and black on a page."""
    opacity = Image.fromarray(np.array([[0, 128, 255]], dtype=np.uint8))
    image = Image.new(mode[:-1], (3, 1))
    image.putalpha(opacity)
    assert image.mode == mode
    return stored(image), np.repeat([[[255], [127], [0]]], 3, axis=-1)


def turned() -> tuple[dict, np.ndarray]:
    exif = Image.Exif()
    exif[0x0112] = 6  # shown turned to the right
    return stored(Image.fromarray(COLOUR), exif=exif), np.rot90(COLOUR, -1)


def animated() -> tuple[dict, np.ndarray]:
    image = Image.fromarray(GREY)
    return stored(image, "GIF", save_all=True, append_images=[Image.new("L", (8, 8))]), grey()


def grey(pixels: np.ndarray = GREY) -> np.ndarray:
    return np.repeat(pixels[..., None], 3, axis=-1)


def numbers(values: np.ndarray, form: str) -> dict:
    return stored(Image.fromarray(values), form)


def tiff(values: np.ndarray, bits: int, zero_is_white: bool, is_float: bool = False) -> dict:
    """A TIFF of one row per row of `values`, as it lies in the file: Pillow writes no such ones."""
    data, (height, width) = values.tobytes(), (8, 8)
    long = {256: width, 257: height, 273: 8, 278: height, 279: len(data)}
    short = {258: bits, 259: 1, 262: int(not zero_is_white), 277: 1, 339: 3 if is_float else 1}
    entries = [(tag, struct.pack("<HII", 4, 1, value)) for tag, value in long.items()]
    entries += [(tag, struct.pack("<HIHH", 3, 1, value, 0)) for tag, value in short.items()]
    content = b"II*\0" + struct.pack("<I", 8 + len(data)) + data + struct.pack("<H", len(entries))
    content += b"".join(struct.pack("<H", tag) + entry for tag, entry in sorted(entries)) + bytes(4)
    return {"bytes": content, "path": "picture.tif"}


def packed(values: np.ndarray) -> np.ndarray:
    """Pairs of 12 bits in three bytes."""
    first, second = values.reshape(-1, 2).astype(np.uint16).T
    return np.stack([first >> 4, (first & 15) << 4 | second >> 8, second & 255], axis=-1).astype(np.uint8)


DEEP = GREY.astype(np.uint16) * 257
CASES = {
    "1": lambda: (stored(Image.fromarray(GREY > 100)), grey(np.where(GREY > 100, 255, 0))),
    "L": lambda: (stored(Image.fromarray(GREY)), grey()),
    "LA": lambda: with_alpha("LA"),
    "P": lambda: palette(False),
    "P, transparent": lambda: palette(True),
    "RGB": lambda: (stored(Image.fromarray(COLOUR)), COLOUR),
    "RGB, one colour transparent": lambda: (
        stored(Image.new("RGB", (1, 1), (9, 8, 7)), transparency=(9, 8, 7)),
        np.full((1, 1, 3), 255),
    ),
    "L, one grey transparent": lambda: (stored(Image.new("L", (1, 1), 9), transparency=9), np.full((1, 1, 3), 255)),
    "RGBA": lambda: with_alpha("RGBA"),
    "CMYK": lambda: (stored(Image.new("CMYK", (2, 2), (0, 255, 255, 0)), "TIFF"), np.full((2, 2, 3), (255, 0, 0))),
    "I;16, PNG": lambda: (numbers(DEEP, "PNG"), grey()),
    "I;16, TIFF": lambda: (numbers(DEEP, "TIFF"), grey()),
    "I;16B": lambda: (stored(Image.fromarray(DEEP.astype(">u2")), "TIFF"), grey()),
    "I;16, dark": lambda: (numbers(GREY.astype(np.uint16), "PNG"), grey(np.rint(GREY / 257))),
    "I of bytes": lambda: (numbers(GREY.astype(np.int32), "TIFF"), grey()),
    "I of 16 bits": lambda: (numbers(DEEP.astype(np.int32), "TIFF"), grey()),
    "I;16, zero is white": lambda: (tiff(DEEP, 16, zero_is_white=True), grey(255 - GREY)),
    "I;12": lambda: (tiff(packed(np.rint(GREY * (4095 / 255))), 12, zero_is_white=False), grey()),
    "F, zero is white": lambda: (
        tiff((GREY / 255).astype(np.float32), 32, zero_is_white=True, is_float=True),
        grey(255 - GREY),
    ),
    "F of shares, PFM": lambda: (
        {"bytes": b"Pf\n8 8\n-1.0\n" + (GREY[::-1] / 255).astype("<f4").tobytes(), "path": "picture.pfm"},
        grey(),
    ),
    "F of shares": lambda: (numbers((GREY / 255).astype(np.float32), "TIFF"), grey()),
    "F of bytes": lambda: (numbers(GREY.astype(np.float32), "TIFF"), grey()),
    "F of 16 bits": lambda: (numbers(DEEP.astype(np.float32), "TIFF"), grey()),
    "turned by EXIF": turned,
    "animated": animated,
}


@pytest.mark.parametrize("case", CASES)
def test_the_model_reads_what_a_viewer_shows(case):
    value, wanted = CASES[case]()
    image = read_image(value)
    assert image.mode == "RGB"
    np.testing.assert_array_equal(np.asarray(image), wanted)
    np.testing.assert_array_equal(np.asarray(as_shown(image)), wanted)  # once more changes nothing
    # A model of pixels and the training of a tokenizer read the same.
    side = {"height": wanted.shape[0], "width": wanted.shape[1]}
    pixels = to_pixels(ViTImageProcessorPil(size=side, do_normalize=False), value)
    np.testing.assert_allclose(pixels.permute(1, 2, 0), wanted / 255, atol=1e-6)


def test_a_colour_of_16_bits_is_transparent():
    """Pillow reads 8 of the 16 bits of an RGB picture, but all of its transparent colour."""
    image = Image.new("RGB", (1, 1), (9, 8, 7))
    image.info["transparency"] = tuple(value * 257 for value in (9, 8, 7))
    assert as_shown(image).getpixel((0, 0)) == (255, 255, 255)


def test_one_of_four_greys_is_transparent():
    """Pillow spreads the four greys of a PNG over a byte, but leaves the transparent one as it is."""
    chunks = ((b"IHDR", struct.pack(">IIBBBBB", 3, 1, 2, 0, 0, 0, 0)), (b"tRNS", b"\0\1"))
    chunks += ((b"IDAT", zlib.compress(b"\0" + bytes([0b01001000]))), (b"IEND", b""))
    data = b"\x89PNG\r\n\x1a\n"
    for name, content in chunks:
        data += struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))
    shown = read_image({"bytes": data, "path": None})
    assert [shown.getpixel((column, 0)) for column in range(3)] == [(255,) * 3, (0,) * 3, (170,) * 3]


def cut_off(form: str) -> bytes:
    data = stored(Image.fromarray(np.random.default_rng(0).integers(0, 255, (64, 64, 3), dtype=np.uint8)), form)
    return data["bytes"][: len(data["bytes"]) // 2]


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("cut.png", cut_off("PNG")),
        ("cut.jpg", cut_off("JPEG")),
        ("page.png", b"<html>not found</html>"),
        ("empty.png", b""),
        ("beyond.tiff", numbers(np.full((2, 2), 70000, np.int32), "TIFF")["bytes"]),
        ("below.tiff", numbers(np.full((2, 2), -1.0, np.float32), "TIFF")["bytes"]),
        ("nan.tiff", numbers(np.full((2, 2), np.nan, np.float32), "TIFF")["bytes"]),
    ],
)
def test_what_cannot_be_read_is_named_before_the_training(name, data, tmp_path):
    for label in ("cat", "dog"):
        (tmp_path / "images" / label).mkdir(parents=True)
        for index in range(4):
            Image.fromarray(COLOUR).save(tmp_path / "images" / label / f"{index}.png")
    (tmp_path / "images" / "dog" / name).write_bytes(data)
    arguments = ImageDataArguments(train_dir=str(tmp_path / "images"), train_val_split=0.25)
    options = {"cache_dir": str(tmp_path / "cache"), "token": None}
    with pytest.raises(ValueError, match=f"dog/{name}' cannot be .* as a picture"):
        load_images(arguments, 0, options)
    arguments.check_images = False
    data = load_images(arguments, 0, options)
    assert len(data["train"]) + len(data["eval"]) == 9
    broken = next(row["image"] for split in data.values() for row in split if row["image"]["path"].endswith(name))
    with pytest.raises(ValueError, match=f"dog/{name}' cannot be .* as a picture"):  # at the latest when it is read
        read_image(broken)


def test_images_that_passed_are_not_read_again(tmp_path, monkeypatch):
    Image.fromarray(COLOUR).save(tmp_path / "a.png")
    data = Dataset.from_dict({"image": [{"path": str(tmp_path / "a.png"), "bytes": None}]})
    check_images("train", data, str(tmp_path))
    monkeypatch.setattr("hyperset_lab.images.pixels.as_shown", lambda image, name: pytest.fail("read again"))
    check_images("train", data, str(tmp_path))
    with pytest.raises(ValueError, match="Image 2 of the split 'eval' cannot be opened as a picture"):
        monkeypatch.setattr("hyperset_lab.images.pixels.as_shown", lambda image, name: image)
        check_images(
            "eval", Dataset.from_dict({"image": [data[0]["image"], {"path": None, "bytes": b"?"}]}), str(tmp_path)
        )
