"""The bytes of a config file as text, or one sentence why not."""

from __future__ import annotations

from difflib import get_close_matches
from pathlib import Path

from rayetl.config.document import MAX_BYTES, Document, Scalar
from rayetl.errors import ConfigError, Problem


def read_text(path: Path) -> str:
    """The text of a UTF-8 file of at most `MAX_BYTES` bytes. Raises `ConfigError`."""
    if path.is_dir():
        raise _unreadable(path, "it is a directory", "name the config file itself")
    try:
        with path.open("rb") as stream:
            data = stream.read(MAX_BYTES + 1)
    except FileNotFoundError:
        near = _neighbours(path)
        raise _unreadable(path, "the file does not exist", near) from None
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise _unreadable(path, f"the file cannot be read: {reason}", None) from None
    if len(data) > MAX_BYTES:
        raise _unreadable(path, f"the file is larger than a config may be ({MAX_BYTES} bytes)", None)
    return _decoded(data, path)


def _decoded(data: bytes, path: Path) -> str:
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        before = data[: error.start].decode("utf-8")
        line, column = Document(before, None, Scalar(0, 0, None, "")).line_and_column(len(before))
        message = f"the file is not UTF-8: byte 0x{data[error.start]:02x} cannot be read"
        problem = Problem("config.encoding", message, (), "save it as UTF-8", None, str(path), line, column)
        raise ConfigError([problem]) from None


def _neighbours(path: Path) -> str | None:
    try:
        names = [each.name for each in path.parent.iterdir() if each.suffix in (".yaml", ".yml", ".json")]
    except (OSError, ValueError):
        return None
    near = get_close_matches(path.name, names, n=1)
    return f"did you mean {path.parent / near[0]}?" if near else None


def _unreadable(path: Path, message: str, hint: str | None) -> ConfigError:
    return ConfigError([Problem("config.file", message, (), hint, file=str(path))])
