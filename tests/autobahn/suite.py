"""The cases of Autobahn's test suite for WebSocket, which PyPI has for Python 2 only, made to run on Python 3.

What a case sends, expects and concludes is the suite's, word for word. What is ours is the ground it stands on: text in
which each character is a byte, as in Python 2, and the client's side of today's `autobahn`.
"""

import binascii
import hashlib
import importlib.abc
import importlib.util
import pathlib
import re
import sys
import types

from autobahn.websocket import compress
from autobahn.websocket.utf8validator import Utf8Validator

PACKAGE = pathlib.Path(importlib.util.find_spec("autobahntestsuite").submodule_search_locations[0])


def to_bytes(text):
    return text.encode("latin-1") if isinstance(text, str) else text


def to_text(data):
    return data.decode("latin-1") if isinstance(data, bytes) else data


class Validator:
    """Takes text of bytes."""

    def __init__(self):
        self.own = Utf8Validator()

    def reset(self):
        self.own.reset()

    def validate(self, text):
        return self.own.validate(to_bytes(text))


def module(name, **contents):
    made = types.ModuleType(name)
    made.__dict__.update(contents)
    return made


def snake(name):
    """`autobahn` once had names like `requestMaxWindowBits`."""
    return re.sub("([A-Z])", r"_\1", name).lower()


class Offer(compress.PerMessageDeflateOffer):
    """With the old names."""

    def __init__(self, **named):
        super().__init__(**{snake(name): value for name, value in named.items()})

    def __getattr__(self, name):
        if snake(name) == name:
            raise AttributeError(name)
        return getattr(self, snake(name))


COMPRESSION = {
    "PerMessageDeflateOffer": Offer,
    "PerMessageDeflateResponse": compress.PerMessageDeflateResponse,
    "PerMessageDeflateResponseAccept": compress.PerMessageDeflateResponseAccept,
}

# What a case means by these names.
STAND_INS = {
    "binascii": module(
        "binascii", b2a_hex=lambda text: to_text(binascii.b2a_hex(to_bytes(text))), hexlify=binascii.hexlify
    ),
    "pkg_resources": module("pkg_resources", resource_filename=lambda _, name: str(PACKAGE / name)),
    "hashlib": hashlib,
}


def python3(text):
    """Of Python 2, the cases use little that is different."""
    text = re.sub(r"^# coding=.*$", "", text.replace("\r\n", "\n"), flags=re.M)
    text = re.sub(r"^(\s*)print (.*)$", r"\1print(\2)", text, flags=re.M)
    text = re.sub(
        r"^from (autobahn.websocket.(utf8validator|compress)|zope.interface|twisted.internet) import .*$",
        "",
        text,
        flags=re.M,
    )
    # Of the one case that needs the two latter, which the suite itself does not run.
    text = text.replace("from case9_9_1 import *", "")
    text = re.sub(r"^import ((?:\w+(?:, )?)+)$", as_imports, text, flags=re.M)
    text = text.replace("(object, Case, )", "(Case,)")
    # The only division there is, of whole numbers.
    text = text.replace("len(self.payload) / ", "len(self.payload) // ")
    # Pickles tell objects that are the same from those that are equal.
    return text.replace("pickle.dumps(obj1) == pickle.dumps(obj2)", "obj1 == obj2")


def as_imports(line):
    names = line[1].split(", ")
    return "; ".join(f"{name} = stand_ins[{name!r}]" if name in STAND_INS else f"import {name}" for name in names)


class Finder(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Finds the modules of the suite's `case` folder by their own names, as Python 2 would have from within."""

    def find_spec(self, name, path=None, target=None):
        file = PACKAGE / "case" / ("__init__.py" if name == "cases" else f"{name}.py")
        ours = name == "cases" or re.fullmatch(r"case(\d+_\w+)?", name)
        return importlib.util.spec_from_file_location(name, file, loader=self) if ours and file.exists() else None

    def create_module(self, spec):
        return None

    def exec_module(self, loaded):
        loaded.__dict__.update(stand_ins=STAND_INS, Utf8Validator=Validator, xrange=range, **COMPRESSION)
        text = python3(pathlib.Path(loaded.__spec__.origin).read_bytes().decode("latin-1"))
        exec(compile(text, loaded.__spec__.origin, "exec", dont_inherit=True), loaded.__dict__)


def load():
    """All cases, by their numbers."""
    sys.meta_path.insert(0, Finder())
    import cases

    return {case.__name__[4:].replace("_", "."): case for case in cases.Cases}
