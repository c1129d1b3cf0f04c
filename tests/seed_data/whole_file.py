"""All pieces of a file of transactions as one, for tests of files that are small."""

from __future__ import annotations

from pathlib import Path

import polars as pl

from millrace.seed_data.stori.transaction_file import Piece, read_transactions


def read_whole(path: Path) -> Piece:
    pieces = list(read_transactions(path))
    return Piece(pl.concat([piece.accepted for piece in pieces]), pl.concat([piece.rejects for piece in pieces]))
