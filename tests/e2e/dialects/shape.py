"""The types of this folder's IDL files for Eclipse's Python binding: classes, values that are easy to get wrong, records.

It reads just the IDL that the files here have. It shares no code with the daemons: that the IDL means what `idlc`,
`fastddsgen` and the daemons take it for is what the tests find out.

A record is what Avro holds by the rules of `shared/types/src/general.rs`, as JSON, where these stand for themselves
alone: `{"$double": "7ff8000000000000"}` (its bits), `{"$bytes": "00ff"}`, `{"$map": {…}}`.
"""

import math
import pathlib
import re
import struct
from typing import Optional

from cyclonedds.idl import annotations, make_idl_bitmask, make_idl_enum, make_idl_struct, make_idl_union
from cyclonedds.idl import types as t

TOKEN = re.compile(r"//[^\n]*|#[^\n]*|::|[A-Za-z_]\w*|-?\d+|[^\s\w]")
TEXTS = ["", "ok", "naïve café", "日本語 ✓", 'tab\tand "quote"\\', "\u0001\u007f", "long " * 60]
DOUBLES = [math.nan, math.inf, -math.inf, 0.0, -0.0, 5e-324, -2.2250738585072009e-308, 1.7976931348623157e308, 0.1]


def single(value):
    """The nearest that has 32 bits."""
    return struct.unpack("f", struct.pack("f", value))[0]


FLOATS = [single(value) for value in (math.nan, math.inf, -math.inf, 0.0, -0.0, 1e-45, 3.4028234e38, 0.1)]


def double(value):
    return {"$double": struct.pack(">d", value).hex()}


class Plain:
    integers = {
        "octet": (t.uint8, 0, 2**8 - 1), "short": (t.int16, -(2**15), 2**15 - 1),
        "unsigned short": (t.uint16, 0, 2**16 - 1), "long": (t.int32, -(2**31), 2**31 - 1),
        "unsigned long": (t.uint32, 0, 2**32 - 1), "long long": (t.int64, -(2**63), 2**63 - 1),
        # Avro has no more.
        "unsigned long long": (t.uint64, 0, 2**63 - 1),
    }
    others = {"boolean": bool, "char": t.char, "float": t.float32, "double": t.float64, "string": str}

    def __init__(self, name, bound=None):
        self.name, self.bound = name, bound
        self.py = self.integers[name][0] if name in self.integers else self.others[name]
        if bound:
            self.py = t.bounded_str[bound]

    def value(self, random):
        if self.name in self.integers:
            _, low, high = self.integers[self.name]
            return random.choice([0, low, high, random.randint(low, high)])
        if self.name == "boolean":
            return random.random() < 0.5
        if self.name == "char":
            return chr(random.choice([1, 32, 65, 126, 127]))
        if self.name == "string":
            longest = self.bound or 1000
            return random.choice([text for text in TEXTS if len(text.encode()) <= longest])
        if self.name == "float":
            return random.choice(FLOATS + [single(random.gauss(0, 1000))])
        return random.choice(DOUBLES + [random.gauss(0, 1000)])

    def record(self, value):
        return double(value) if self.name in ("float", "double") else value


class Many:
    """A sequence, or an array of one dimension."""

    def __init__(self, element, bound=None, count=None):
        self.element, self.bound, self.count = element, bound, count
        if count:
            self.py = t.array[element.py, count]
        else:
            self.py = t.sequence[element.py, bound] if bound else t.sequence[element.py]

    def value(self, random):
        count = self.count or random.choice([0, 1, 2, min(self.bound or 5, 5)])
        return [self.element.value(random) for _ in range(count)]

    def record(self, value):
        if isinstance(self.element, Plain) and self.element.name == "octet":
            return {"$bytes": bytes(value).hex()}
        return [self.element.record(each) for each in value]


class Map:
    """The binding announces none. In XCDR1 they are what a sequence of pairs is: to read, as nobody writes them here."""

    made = 0

    def __init__(self, key, element):
        self.key, self.element, name = key, element, f"Entry{Map.made}"
        Map.made += 1
        self.py = t.sequence[annotations.final(make_idl_struct(name, name, {"key": key.py, "value": element.py}))]

    def record(self, value):
        entries = [(each.key, self.element.record(each.value)) for each in value]
        is_text = self.key.name == "string"
        return {"$map": dict(entries)} if is_text else [{"key": key, "value": element} for key, element in entries]


class Enum:
    def __init__(self, name, literals):
        self.py = make_idl_enum(name, name, {literal: number for number, literal in enumerate(literals)})

    def value(self, random):
        return random.choice(list(self.py))

    def record(self, value):
        return value.name


class Mask:
    def __init__(self, name, bits, flags):
        """`flags`: name and position."""
        notes = {flag: {"position": position} for flag, position in flags}
        self.py = annotations.bit_bound(bits)(make_idl_bitmask(name, name, [it for it, _ in flags], field_annotations=notes))
        self.flags = flags

    def value(self, random):
        return self.py(**{flag: random.random() < 0.5 for flag, _ in self.flags})

    def record(self, value):
        return sum(1 << position for flag, position in self.flags if getattr(value, flag))


class Union:
    def __init__(self, name, extensibility, discriminator, cases, default):
        """`cases`: member, labels, type; `default`: member and type, or none."""
        labelled = {member: t.case[labels, ty.py] for member, labels, ty in cases}
        if default:
            labelled[default[0]] = t.default[default[1].py]
        self.py = annotations.extensibility(extensibility)(make_idl_union(name, name, labelled, discriminator.py))
        self.discriminator, self.cases, self.default = discriminator, cases, default

    def value(self, random):
        known = [label for _, labels, _ in self.cases for label in labels]
        if random.random() < 0.3:
            other = self.discriminator.value(random)
            if other not in known:
                return self.py(discriminator=other, value=self.default and self.default[1].value(random))
        _, labels, ty = random.choice(self.cases)
        return self.py(discriminator=random.choice(labels), value=ty.value(random))

    def record(self, value):
        chosen, content = value.get()
        result = {"discriminator": self.discriminator.record(chosen)}
        for member, labels, ty in self.cases:
            result[member] = ty.record(content) if chosen in labels else None
        if self.default:
            is_other = all(chosen not in labels for _, labels, _ in self.cases)
            result[self.default[0]] = self.default[1].record(content) if is_other else None
        return result


class Struct:
    def __init__(self, name, extensibility, members):
        """`members`: name, type, annotations as a dict."""
        self.name, self.extensibility, self.members = name, extensibility, members
        fields = {member: Optional[ty.py] if "optional" in notes else ty.py for member, ty, notes in members}
        notes = {member: {key: value for key, value in notes.items() if key in ("id", "key")} for member, _, notes in members}
        made = make_idl_struct(name.rpartition("::")[2], name, fields, field_annotations=notes)
        self.py = annotations.extensibility(extensibility)(made)

    def but(self, name=None, extensibility=None, members=None):
        """The same, but for these."""
        return Struct(name or self.name, extensibility or self.extensibility, members or self.members)

    def value(self, random, **given):
        values = {}
        for member, ty, notes in self.members:
            is_absent = "optional" in notes and random.random() < 0.4
            values[member] = given[member] if member in given else None if is_absent else ty.value(random)
        return self.py(**values)

    def record(self, value):
        values = {member: getattr(value, member) for member, *_ in self.members}
        return {member: None if values[member] is None else ty.record(values[member]) for member, ty, _ in self.members}


class Reader:
    """Of one file."""

    def __init__(self, text, types, appendable):
        self.tokens = [it for it in TOKEN.findall(text) if not it.startswith(("//", "#"))]
        self.tokens = [appendable if it == "appendable" else it for it in self.tokens]
        self.at, self.types = 0, types

    def next(self, *expected):
        token = self.tokens[self.at]
        if expected and token not in expected:
            raise SyntaxError(f"{token!r} where one of {expected} should be, after {self.tokens[self.at - 9:self.at]}")
        self.at += 1
        return token

    def took(self, token):
        is_next = self.at < len(self.tokens) and self.tokens[self.at] == token
        self.at += is_next
        return is_next

    def notes(self):
        found = {}
        while self.took("@"):
            word, argument = self.next(), True
            if self.took("("):
                argument = int(self.next())
                self.next(")")
            found[word] = argument
        return found

    def type(self):
        word = self.next()
        if word in ("sequence", "map"):
            self.next("<")
            first, bound = self.type(), None
            if self.took(","):
                bound = self.type() if word == "map" else int(self.next())
            self.next(">")
            return Map(first, bound) if word == "map" else Many(first, bound)
        if word == "string" and self.took("<"):
            bound = int(self.next())
            self.next(">")
            return Plain(word, bound)
        while word in ("unsigned", "long", "unsigned long") and self.tokens[self.at] in ("short", "long"):
            word += f" {self.next()}"
        return self.types[f"Dialects::{word}"] if f"Dialects::{word}" in self.types else Plain(word)

    def declared(self):
        """Name and type."""
        ty, name, counts = self.type(), self.next(), []
        while self.took("["):
            counts.append(int(self.next()))
            self.next("]")
        self.next(";")
        for count in reversed(counts):
            ty = Many(ty, count=count)
        return name, ty

    def members(self):
        self.next("{")
        while not self.took("}"):
            notes = self.notes()
            yield *self.declared(), notes

    def names(self):
        self.next("{")
        while not self.took("}"):
            notes = self.notes()
            yield self.next(), notes
            self.took(",")

    def cases(self):
        """Member, type, and labels; `None` among them is the default."""
        self.next("{")
        while not self.took("}"):
            labels = []
            while self.tokens[self.at] in ("case", "default"):
                labels.append(self.next() if self.next() == "case" else None)
                self.next(":")
            yield *self.declared(), labels

    def definition(self):
        notes, kind = self.notes(), self.next("enum", "bitmask", "typedef", "union", "struct")
        extensibility = next((word for word in notes if word in ("final", "appendable", "mutable")), "final")
        if kind == "typedef":
            name, made = self.declared()
            self.types[f"Dialects::{name}"] = made
            return
        name = f"Dialects::{self.next()}"
        if kind == "enum":
            made = Enum(name, [literal for literal, _ in self.names()])
        elif kind == "bitmask":
            flags = []
            for flag, own in self.names():
                flags.append((flag, own.get("position", flags[-1][1] + 1 if flags else 0)))
            made = Mask(name, notes["bit_bound"], flags)
        elif kind == "union":
            made = self.union(name, extensibility)
        else:
            made = Struct(name, extensibility, list(self.members()))
        self.next(";")
        self.types[name] = made

    def union(self, name, extensibility):
        self.next("switch"), self.next("(")
        discriminator = self.type()
        self.next(")")
        cases, default = [], None
        for member, ty, labels in self.cases():
            if None in labels:
                default = (member, ty)
            elif isinstance(discriminator, Enum):
                cases.append((member, [discriminator.py[label] for label in labels], ty))
            else:
                known = {"TRUE": True, "FALSE": False}
                cases.append((member, [known[label] if label in known else int(label) for label in labels], ty))
        return Union(name, extensibility, discriminator, cases, default)

    def file(self):
        while self.took("module"):
            self.next("Dialects"), self.next("{")
            while not self.took("}"):
                self.definition()
            self.next(";")


def types(*files, appendable="appendable"):
    """By full name, of files of this folder; what a file includes has to stand before it."""
    found = {}
    for file in files:
        Reader(pathlib.Path(__file__).with_name(file).read_text(), found, appendable).file()
    return found
