"""Files that are whole or not there: atomic writes, checksums, ledgers, locks, safe paths."""

from landscape.storage.arrays import load_arrays, save_arrays, sha256_arrays
from landscape.storage.files import (
    is_temporary,
    process_alive,
    read_json,
    remove_stale_temporaries,
    replacing,
    require_writable,
    sha256_bytes,
    sha256_file,
    sync_folder,
    write_bytes,
    write_json,
    write_text,
)
from landscape.storage.ledger import Ledger, append_line
from landscape.storage.lock import FolderLock, holder_is_gone
from landscape.storage.paths import as_path, require_file, safe_join

__all__ = [
    "FolderLock",
    "Ledger",
    "append_line",
    "as_path",
    "holder_is_gone",
    "is_temporary",
    "load_arrays",
    "process_alive",
    "read_json",
    "remove_stale_temporaries",
    "replacing",
    "require_file",
    "require_writable",
    "safe_join",
    "save_arrays",
    "sha256_arrays",
    "sha256_bytes",
    "sha256_file",
    "sync_folder",
    "write_bytes",
    "write_json",
    "write_text",
]
