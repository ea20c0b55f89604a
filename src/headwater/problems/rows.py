"""Rows of a JSON Lines or Parquet file, each with its line, and a fault instead of values where one is wrong.

A file that cannot be read at all raises InputError; a row that cannot be read is handed on with what is wrong
with it, so that the caller may refuse it or record it. Text is never executed, and no file is unpickled
(pyarrow from 14.0.1 on loads no pickled extension type).

Left out: compressed JSON Lines (but `jsonl_rows` takes any open file), JSON arrays, CSV.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, NoReturn

from headwater.errors import InputError
from headwater.problems.columns import RowFault, Written, brief, kind

SUFFIXES = (".jsonl", ".parquet")
LONGEST_LINE = 64 * 2**20
"""Bytes; a file with a longer line is no JSON Lines file, and is not read into memory."""
BLANK = "the line is blank"
"""The fault of a line between two rows."""
BATCH = 1_000
"""Parquet rows that are in memory at a time."""

_MAGIC = {
    b"PAR1": "a Parquet file; rename it to .parquet",
    b"\x1f\x8b": "gzip-compressed; decompress it with `gunzip`",
    b"PK\x03\x04": "a zip archive; unpack it",
    b"\xff\xfe": "UTF-16 text; save it as UTF-8",
    b"\xfe\xff": "UTF-16 text; save it as UTF-8",
    b"[": "a JSON array; write each of its objects on a line of its own (`jq -c '.[]'`)",
}
_MARK = b"\xef\xbb\xbf"
"""UTF-8's byte order mark, which some editors write at the start of a file."""


@dataclass(frozen=True, slots=True)
class Row:
    """One row: `line` counts from 1 (Parquet: rows); `names` are its columns; `fault` is empty for a good row."""

    file: str
    line: int
    values: Mapping[str, Any]
    names: tuple[str, ...] = ()
    fault: str = ""


def file_rows(path: Path, wanted: frozenset[str] | None = None) -> Iterator[Row]:
    """The rows of a file, by its suffix; of a Parquet file only the `wanted` columns are read, None: all.

    Raises InputError for a file that is missing, empty, of another format, or damaged.
    """
    check_file(path)
    return parquet_rows(path, wanted) if path.suffix == ".parquet" else _opened_rows(path)


def check_file(path: Path) -> None:
    """Raise InputError unless the path is a file with something in it and a suffix that is read."""
    name = named(path)
    try:
        if not path.exists():
            raise InputError(f"problems {name}: there is no such file (in {named(Path.cwd())}); check the path")
        if not path.is_file():
            raise InputError(f"problems {name}: found a directory or device, expected a file; allowed: {_allowed()}")
        if path.suffix not in SUFFIXES:
            raise InputError(
                f"problems {name}: found a file that ends in {brief(path.suffix)}; allowed: {_allowed()}. Convert it, "
                "or read it in Python and pass its rows to headwater.problems.generated.from_rows"
            )
        if path.stat().st_size == 0:
            raise InputError(f"problems {name}: the file is empty; expected rows with a prompt and an answer")
    except (OSError, ValueError) as error:  # ValueError: a NUL in the name
        raise _unreadable(path, error) from error


def digest_of(paths: list[tuple[str, Path]]) -> str:
    """SHA-256 of one file's bytes; of several, the SHA-256 over their names and digests. 64 hex digits."""
    digests = []
    for name, path in paths:
        try:
            with path.open("rb") as file:
                digests.append((name, hashlib.file_digest(file, "sha256").hexdigest()))
        except OSError as error:
            raise _unreadable(path, error) from error
    if len(digests) == 1:
        return digests[0][1]
    return hashlib.sha256(json.dumps(digests).encode()).hexdigest()


def _allowed() -> str:
    return f"{' and '.join(SUFFIXES)} files"


def named(path: Path | str) -> str:
    """A path as a message shows it: escaped when it holds what does not print."""
    text = str(path)
    return text if text.isprintable() else ascii(text)


def _unreadable(path: Path, error: Exception) -> InputError:
    reason = getattr(error, "strerror", None) or error
    return InputError(f"problems {named(path)}: cannot be read ({reason}); check the path and its permissions")


# --- JSON Lines ---------------------------------------------------------------------------------------------


def _opened_rows(path: Path) -> Iterator[Row]:
    try:
        with path.open("rb") as file:
            yield from jsonl_rows(str(path), file)
    except OSError as error:
        raise _unreadable(path, error) from error


def jsonl_rows(name: str, file: IO[bytes]) -> Iterator[Row]:
    """The rows of an open file of this name. Raises InputError when it is of another format."""
    _check_magic(name, file)
    blank: list[int] = []
    for number, line in _lines(name, file):
        if not line.strip():
            blank.append(number)
            continue
        # A blank line at the end is how some editors end a file; between rows it may be a lost row.
        yield from (Row(name, earlier, {}, fault=BLANK) for earlier in blank)
        blank.clear()
        yield _jsonl_row(name, number, line)


def _check_magic(name: str, file: IO[bytes]) -> None:
    start = file.read(4)
    for magic, found in _MAGIC.items():
        if start.startswith(magic):
            raise InputError(f"problems {named(name)}: expected JSON Lines (one object a line), found {found}")
    file.seek(len(_MARK) if start.startswith(_MARK) else 0)


def _lines(name: str, file: IO[bytes]) -> Iterator[tuple[int, bytes]]:
    """Lines end at a line feed alone: str.splitlines would also cut at U+2028, which JSON allows inside text."""
    number = 0
    while line := file.readline(LONGEST_LINE + 1):
        number += 1
        if len(line) > LONGEST_LINE:
            raise InputError(
                f"problems {named(name)}, line {number}: longer than {LONGEST_LINE >> 20} MiB; expected JSON Lines "
                "(one object a line)"
            )
        yield number, line


def _jsonl_row(name: str, number: int, line: bytes) -> Row:
    try:
        values = json.loads(
            line.rstrip(b"\r\n").decode(),
            object_pairs_hook=_unique,
            parse_constant=_no_number,
            parse_float=Written,
            parse_int=Written,
        )
        if not isinstance(values, dict):
            raise RowFault(f"found {kind(values)}; expected one JSON object a line")
    except UnicodeDecodeError as error:
        fault = f"not UTF-8 (byte 0x{error.object[error.start]:02x} at {error.start + 1}); save the file as UTF-8"
    except json.JSONDecodeError as error:
        what = error.msg.removesuffix(" starting at")
        fault = f"not JSON ({what} at column {error.colno}); expected one JSON object a line"
    except RecursionError:
        fault = "values are nested too deeply; expected one JSON object with a prompt and an answer"
    except RowFault as error:
        fault = str(error)
    else:
        return Row(name, number, values, tuple(values))
    return Row(name, number, {}, fault=fault)


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    values = dict(pairs)
    if len(values) < len(pairs):
        names = [key for key, _ in pairs]
        twice = next(key for key in names if names.count(key) > 1)
        raise RowFault(f"the key {brief(twice)} stands there twice; keep one")
    return values


def _no_number(constant: str) -> NoReturn:
    raise RowFault(f"{constant} is not JSON; write a finite number, text or null")


# --- Parquet ------------------------------------------------------------------------------------------------


def parquet_rows(path: Path, wanted: frozenset[str] | None = None) -> Iterator[Row]:
    """The rows of a Parquet file, of the `wanted` columns only; None: all. Raises InputError when it is damaged."""
    # Loaded here so that who reads no Parquet file does not wait for it.
    import pyarrow  # noqa: PLC0415
    from pyarrow import parquet  # noqa: PLC0415

    name, done = str(path), 0
    try:
        with parquet.ParquetFile(path) as file:
            names = tuple(file.schema_arrow.names)
            columns = [column for column in names if wanted is None or column in wanted]
            if len(set(columns)) < len(columns):
                raise InputError(f"problems {named(name)}: two columns have one name, of {brief(columns)}; rename one")
            for batch in file.iter_batches(batch_size=BATCH, columns=columns, use_threads=False):
                for values, fault in _batch_values(batch):
                    done += 1
                    yield Row(name, done, values, names, fault)
    except (pyarrow.ArrowException, OSError, ValueError) as error:
        reason = " ".join(str(error).split())[:120]
        raise InputError(
            f"problems {named(name)}, after row {done}: not a whole Parquet file ({reason}); write or download it again"
        ) from error


def _batch_values(batch: Any) -> Iterator[tuple[dict[str, Any], str]]:
    try:
        yield from [(values, "") for values in batch.to_pylist()]
        return
    except (ValueError, OverflowError):  # text that is not UTF-8, a date outside Python's years
        pass
    for index in range(batch.num_rows):
        try:
            yield batch.slice(index, 1).to_pylist()[0], ""
        except (ValueError, OverflowError) as error:
            yield {}, f"a value cannot be read ({type(error).__name__}); expected UTF-8 text"
