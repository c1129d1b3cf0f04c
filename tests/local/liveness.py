"""Whether a process is still there, in the eyes of the kernel."""

from __future__ import annotations

from pathlib import Path


def is_alive(process_id: int) -> bool:
    """False once it ended, also while nobody has asked for its exit code yet."""
    try:
        status = Path(f"/proc/{process_id}/status").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False
    return "State:\tZ" not in status
