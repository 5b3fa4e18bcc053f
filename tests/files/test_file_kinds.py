"""A file that is no photograph is called what it is."""

from pathlib import Path

import pytest

from stages.errors import InputError
from stages.files.images import read_image


@pytest.mark.parametrize(
    ("beginning", "kind"),
    [
        (b"", "an empty file"),
        (b"<!DOCTYPE html>\n<html><title>404", "a web page"),
        (b'<?xml version="1.0"?>\n<svg xmlns="http://www.w3.org/2000/svg">', "an SVG drawing"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:00", "Git LFS"),
        (b"\xff\x0a\0\0", "JPEG XL"),
        (b"\0\0\0\x0cJXL \x0d\x0a\x87\x0a", "JPEG XL"),
        (b"8BPS\0\1", "Photoshop"),
        (b"%PDF-1.7", "a PDF"),
        (b"v/1\x01", "OpenEXR"),
        (b"PK\x03\x04", "a zip archive"),
        (b"\0\0\0\x14ftypqt  ", "a video"),
        (b"\0\0\0\x18ftypmp42", "a video"),
        (b"\x1aE\xdf\xa3", "WebM video"),
        (b"RIFF\0\0\0\0AVI LIST", "a video"),
        (b"bplist00", "iCloud"),
        (b"L\0\0\0\x01\x14\x02\0", "a shortcut"),
    ],
)
@pytest.mark.parametrize("name", ["photo.jpg", "photo"])
def test_the_error_says_what_the_file_is(tmp_path: Path, beginning: bytes, kind: str, name: str) -> None:
    path = tmp_path / name
    path.write_bytes(beginning + (bytes(80) if beginning else b""))
    with pytest.raises(InputError) as refused:
        read_image(path)
    assert kind in refused.value.why
    assert refused.value.hint
