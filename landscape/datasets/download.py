"""One file from the network into memory, verified before anyone sees it."""

from __future__ import annotations

import hashlib
import http.client
import urllib.request
from collections.abc import Sequence

from landscape.errors import DataError
from landscape.progress import progress_bar

_PIECE = 1_000_000
_TIMEOUT = 30.0


def download_file(urls: Sequence[str], *, md5: str, desc: str, progress: bool = True) -> bytes:
    """Fetch a file from the first address that has it, and verify its checksum.

    Args:
        urls: Addresses, tried in this order.
        md5: The checksum that the content must have, in hexadecimal.
        desc: What the progress bar says.
        progress: Whether a bar is shown, in megabytes.

    Returns:
        The content; the largest file of the sets here has about 190 MB.

    Raises:
        DataError: No address gave a file with that checksum; the message says what happened at each.
    """
    reasons = []
    for url in urls:
        try:
            content = _fetch(url, desc, progress)
        except (OSError, http.client.HTTPException, ValueError) as error:
            reasons.append(f"{url}: {type(error).__name__}: {error}")
            continue
        found = hashlib.md5(content, usedforsecurity=False).hexdigest()
        if found == md5:
            return content
        reasons.append(f"{url}: {len(content)} bytes with MD5 {found}")
    raise DataError(f"No address gave {desc} with MD5 {md5}.", got="; ".join(reasons))


def _fetch(url: str, desc: str, progress: bool) -> bytes:
    request = urllib.request.Request(url, headers={"User-Agent": "landscape"})
    pieces = []
    with urllib.request.urlopen(request, timeout=_TIMEOUT) as response:
        length = int(response.headers.get("Content-Length") or 0)
        with progress_bar(max(1, -(-length // _PIECE)), desc=f"downloading {desc}", unit="MB", enabled=progress) as bar:
            while piece := response.read(_PIECE):
                pieces.append(piece)
                bar.update()
    return b"".join(pieces)
