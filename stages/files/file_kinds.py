"""Says what a file is that is no photograph, for error messages."""

from pathlib import Path

# What a file is, by its first bytes; the longer ones come first.
BEGINNINGS = (
    (b"version https://git-lfs", "a pointer of Git LFS, without the file itself", "run git lfs pull"),
    (b"\0\0\0\x0cJXL ", "a JPEG XL file", ""),
    (b"\xff\x0a", "a JPEG XL file", ""),
    (b"8BPS", "a Photoshop file", ""),
    (b"gimp xcf", "a file of GIMP", ""),
    (b"%PDF", "a PDF", ""),
    (b"%!PS", "a PostScript file", ""),
    (b"v/1\x01", "an OpenEXR file", ""),
    (b"#?RADIANCE", "a Radiance HDR file", ""),
    (b"PK\x03\x04", "a zip archive", "unpack it"),
    (b"\x1f\x8b", "a gzip archive", "unpack it"),
    (b"Rar!", "a rar archive", "unpack it"),
    (b"7z\xbc\xaf", "a 7z archive", "unpack it"),
    (b"ply", "a PLY file", ""),
    (b"bplist", "a property list of macOS, as iCloud leaves for a file that is not on this computer", "download it"),
    (b"L\0\0\0\x01\x14\x02\0", "a shortcut of Windows", "give the file that it points to"),
    (b"\x1aE\xdf\xa3", "a Matroska or WebM video", ""),
)
VIDEO_HINT = "take two of its frames: ffmpeg -i VIDEO -r 1 frame_%03d.png"
EXPORT_HINT = "export it as PNG or JPEG"
TEXTS = ((b"<!doctype html", "a web page"), (b"<html", "a web page"), (b"<svg", "an SVG drawing"))


def describe_file(path: Path) -> tuple[str, str] | None:
    """What a file is, a noun, and what to do with it; None if its beginning does not tell."""
    with path.open("rb") as file:
        head = file.read(1024)
    if not head:
        return "an empty file", "copy or download it again"
    for beginning, kind, hint in BEGINNINGS:
        if head.startswith(beginning):
            return kind, hint or (VIDEO_HINT if "video" in kind else EXPORT_HINT)
    if head[4:8] in (b"ftyp", b"moov", b"mdat", b"wide") or (head[:4] == b"RIFF" and head[8:12] == b"AVI "):
        return "a video", VIDEO_HINT
    for beginning, kind in TEXTS:
        if beginning in head.lower() and head.lstrip().startswith(b"<"):
            hint = "the address leads to a page, not to the photograph: download it again"
            return kind, hint if kind == "a web page" else EXPORT_HINT
    return None
