"""Samples of Cyclone DDS, for `golden.rs`.

Usage: python3 -m venv venv && venv/bin/pip install cyclonedds==11.0.1 && venv/bin/python make.py > golden.json

Each type is made twice from one description: as classes of the Python API, which serialise random values, and as IDL.
`venv/bin/python make.py live` sends every value through a writer and a reader instead: what the library's own check
of incoming samples accepts.

Left out, as the Python API writes what neither the standard has nor the library reads:
* XCDR1 of enums of up to 16 bits: four bytes each. The library has one or two, in XCDR1 too.
* Keys of a base, which its heirs lose.
* XCDR2 of maps other than of a primitive to a primitive: no length before them. The library has no maps at all.
"""

import json
import random
import struct
import sys

from cyclonedds.idl import IdlBitmask, IdlEnum, make_idl_bitmask, make_idl_enum, make_idl_struct, make_idl_union
from cyclonedds.idl import annotations, types
from cyclonedds.idl._support import Endianness, SerializeKind
from typing import Dict, Optional

RNG = random.Random(20240)


def bits(value):
    """A double as a text that no reader rounds."""
    return struct.pack(">d", value).hex()


class Prim:
    INT = {"int8": ("int8", 8, 1), "octet": ("byte", 8, 0), "uint8": ("uint8", 8, 0), "short": ("int16", 16, 1)}
    INT |= {"unsigned short": ("uint16", 16, 0), "long": ("int32", 32, 1), "unsigned long": ("uint32", 32, 0)}
    INT |= {"long long": ("int64", 64, 1), "unsigned long long": ("uint64", 63, 0)}
    OTHER = {"boolean": bool, "float": types.float32, "double": types.float64, "char": types.char, "wchar": types.wchar}
    primitive, enum16, map2 = True, False, False

    def __init__(self, idl):
        self.idl = idl
        self.py = getattr(types, self.INT[idl][0]) if idl in self.INT else self.OTHER[idl]

    def gen(self):
        if self.idl in self.INT:
            _, width, signed = self.INT[self.idl]
            low = -(1 << width - 1) if signed else 0
            return RNG.choice([0, 1, low, low + (1 << width) - 1, RNG.randrange(low, low + (1 << width))])
        if self.idl == "boolean":
            return RNG.random() < 0.5
        if self.idl == "char":
            return RNG.choice("az0~\x7f")
        if self.idl == "wchar":
            return RNG.choice([0x41, 0x20AC, 0x7FFF])
        value = RNG.choice([0.0, -0.0, 1.5, -1e30, RNG.uniform(-1e6, 1e6)])
        return struct.unpack("f", struct.pack("f", value))[0] if self.idl == "float" else value

    def js(self, value):
        if self.idl in ("float", "double"):
            return bits(value)
        return chr(value) if self.idl == "wchar" else value


class Str:
    primitive, enum16, map2 = False, False, False

    def __init__(self, bound=None):
        self.py = types.bounded_str[bound] if bound else str
        self.idl = f"string<{bound}>" if bound else "string"

    def gen(self):
        return RNG.choice(["", "a", "word", "é€", "x y z"])

    def js(self, value):
        return value


class Many:
    primitive = False

    def __init__(self, element):
        self.element = element
        self.enum16, self.map2 = element.enum16, element.map2

    def js(self, value):
        return [self.element.js(it) for it in value]


class Seq(Many):
    def __init__(self, element, bound=None):
        super().__init__(element)
        self.py = types.sequence[element.py, bound] if bound else types.sequence[element.py]
        self.idl = f"sequence<{named(element)}{f', {bound}' if bound else ''}>"
        self.bound = bound

    def gen(self):
        return [self.element.gen() for _ in range(RNG.randrange(min(self.bound or 5, 5)))]


class Arr(Many):
    def __init__(self, element, *sizes):
        super().__init__(element if len(sizes) == 1 else Arr(element, *sizes[1:]))
        self.size, self.py = sizes[0], types.array[self.element.py, sizes[0]]
        self.innermost, self.sizes = element, sizes

    def gen(self):
        values = [self.element.gen() for _ in range(self.size)]
        is_octets = isinstance(self.element, Prim) and self.element.idl in ("octet", "uint8")
        return bytes(values) if is_octets else values


class Map:
    primitive = False

    def __init__(self, key, value):
        self.key, self.value = key, value
        self.py, self.idl = Dict[key.py, value.py], f"map<{named(key)}, {named(value)}>"
        self.enum16 = key.enum16 or value.enum16
        self.map2 = not (key.primitive and value.primitive) or value.map2

    def gen(self):
        return {self.key.gen(): self.value.gen() for _ in range(RNG.randrange(4))}

    def js(self, value):
        if isinstance(self.key, Str):
            return {self.key.js(k): self.value.js(v) for k, v in value.items()}
        return [{"key": self.key.js(k), "value": self.value.js(v)} for k, v in value.items()]


IDL = []


def named(ty):
    """An array needs a typedef where it is an element."""
    if not isinstance(ty, Arr):
        return ty.idl
    name = f"Array{len(IDL)}"
    IDL.append(f"typedef {declared(ty, name)};")
    return name


def declared(ty, name):
    if isinstance(ty, Arr):
        return f"{named(ty.innermost)} {name}" + "".join(f"[{size}]" for size in ty.sizes)
    return f"{ty.idl} {name}"


class Enum:
    primitive, map2 = False, False

    def __init__(self, name, literals, bound=None):
        self.idl = name
        self.py = make_idl_enum(name, name, literals)
        if bound:
            self.py = annotations.bit_bound(bound)(self.py)
        self.enum16 = bool(bound) and bound <= 16
        text = ", ".join(f"@value({value}) {literal}" for literal, value in literals.items())
        IDL.append(f"@bit_bound({bound or 32}) enum {name} {{ {text} }};")

    def gen(self):
        return RNG.choice(list(self.py))

    def js(self, value):
        return value.name


class Mask:
    primitive, enum16, map2 = False, False, False

    def __init__(self, name, flags, bound=None):
        self.idl, self.flags = name, flags
        self.py = make_idl_bitmask(name, name, flags)
        if bound:
            self.py = annotations.bit_bound(bound)(self.py)
        IDL.append(f"@bit_bound({bound or 32}) bitmask {name} {{ {', '.join(flags)} }};")

    def gen(self):
        return self.py(**{flag: RNG.random() < 0.5 for flag in self.flags})

    def js(self, value):
        return value.as_mask()


class Union:
    primitive = False

    def __init__(self, name, extensibility, disc, cases, default=None):
        """`cases`: member, labels, type; `default`: member, type."""
        self.idl, self.disc, self.cases, self.default = name, disc, cases, default
        fields = {member: types.case[labels, ty.py] for member, labels, ty in cases}
        if default:
            fields[default[0]] = types.default[default[1].py]
        self.py = annotations.extensibility(extensibility)(make_idl_union(name, name, fields, disc.py))
        inside = [disc] + [ty for *_, ty in cases] + ([default[1]] if default else [])
        self.enum16, self.map2 = any(ty.enum16 for ty in inside), any(ty.map2 for ty in inside)
        label = lambda it: getattr(it, "name", None) or (f"'{it}'" if isinstance(it, str) else str(it).upper())
        text = [
            " ".join(f"case {label(it)}:" for it in labels) + f" {declared(ty, member)};" for member, labels, ty in cases
        ]
        if default:
            text.append(f"default: {declared(default[1], default[0])};")
        IDL.append(f"@{extensibility} union {name} switch ({disc.idl}) {{ {' '.join(text)} }};")

    def gen(self):
        choice = RNG.randrange(len(self.cases) + 1)
        if choice < len(self.cases):
            _, labels, ty = self.cases[choice]
            return self.py(discriminator=RNG.choice(labels), value=ty.gen())
        labels = [label for _, labels, _ in self.cases for label in labels]
        while (other := self.disc.gen()) in labels:
            if set(labels) >= {False, True} or isinstance(self.disc, Enum) and set(self.disc.py) <= set(labels):
                return self.py(discriminator=labels[0], value=self.cases[0][2].gen())
        return self.py(discriminator=other, value=self.default[1].gen() if self.default else None)

    def js(self, value):
        disc, content = value.get()
        result = {"discriminator": self.disc.js(disc)}
        for member, labels, ty in self.cases:
            result[member] = ty.js(content) if disc in labels else None
        if self.default:
            others = all(disc not in labels for _, labels, _ in self.cases)
            result[self.default[0]] = self.default[1].js(content) if others else None
        return result


class Struct:
    primitive = False

    def __init__(self, name, extensibility, members, base=None):
        """`members`: name, type, and any of `key`, `optional`, `id=7`."""
        self.idl, self.base = name, base
        own = [(member, ty, dict(it.split("=") if "=" in it else (it, True) for it in words)) for member, ty, *words in members]
        self.members = (base.members if base else []) + own
        fields, notes, text = {}, {}, []
        for member, ty, words in own:
            fields[member] = Optional[ty.py] if "optional" in words else ty.py
            notes[member] = {}
            if "key" in words:
                notes[member]["key"] = True
            if "id" in words:
                notes[member]["id"] = int(words["id"])
            said = "".join(f"@{word}{f'({it})' if it is not True else ''} " for word, it in words.items())
            text.append(f"{said}{declared(ty, member)};")
        bases = (base.py,) if base else ()
        self.py = annotations.extensibility(extensibility)(
            make_idl_struct(name, name, fields, field_annotations=notes, bases=bases)
        )
        self.enum16 = any(ty.enum16 for _, ty, _ in self.members)
        self.map2 = any(ty.map2 for _, ty, _ in self.members)
        parent = f" : {base.idl}" if base else ""
        IDL.append(f"@{extensibility} struct {name}{parent} {{ {' '.join(text)} }};")

    def gen(self):
        none = lambda words: "optional" in words and RNG.random() < 0.5
        return self.py(**{name: None if none(words) else ty.gen() for name, ty, words in self.members})

    def js(self, value):
        values = {name: getattr(value, name) for name, *_ in self.members}
        return {name: None if values[name] is None else ty.js(values[name]) for name, ty, _ in self.members}


b, o, c, w = Prim("boolean"), Prim("octet"), Prim("char"), Prim("wchar")
i8, i16, i32, i64 = Prim("int8"), Prim("short"), Prim("long"), Prim("long long")
u8, u16, u32, u64 = Prim("uint8"), Prim("unsigned short"), Prim("unsigned long"), Prim("unsigned long long")
f32, f64, s = Prim("float"), Prim("double"), Str()


def topics():
    every = [b, o, c, i8, u8, i16, u16, i32, u32, i64, u64, f32, f64, s, w]
    members = [(f"m{at}", ty) for at, ty in enumerate(every)]
    for ext in ("final", "appendable", "mutable"):
        yield Struct(f"Plain_{ext}", ext, members)
        yield Struct(f"Optional_{ext}", ext, [(name, ty, "optional") for name, ty in members])
        color = Enum(f"Color_{ext}", {"RED": 0, "GREEN": 1, "BLUE": 7})
        tiny = Enum(f"Tiny_{ext}", {"A": 0, "B": 1}, 8)
        mask = Mask(f"Mask_{ext}", ["F0", "F1", "F2"])
        small, large = Mask(f"Small_{ext}", ["G0", "G1"], 8), Mask(f"Large_{ext}", ["H0", "H1", "H2"], 64)
        yield Struct(f"Enums_{ext}", ext, [("a", color), ("list", Seq(color)), ("table", Arr(color, 2)), ("x", f64)])
        yield Struct(f"Tinies_{ext}", ext, [("a", tiny), ("list", Seq(tiny)), ("table", Arr(tiny, 3)), ("x", f64)])
        yield Struct(f"Masks_{ext}", ext, [("a", mask), ("b", small), ("c", large), ("x", i16), ("list", Seq(small))])
        inner = Struct(f"Inner_{ext}", ext, [("id", i16, "key"), ("value", f64), ("name", s, "optional")])
        yield Struct(
            f"Nested_{ext}",
            ext,
            [("flag", b), ("one", inner), ("list", Seq(inner)), ("table", Arr(inner, 2)), ("maybe", inner, "optional")],
        )
        yield Struct(
            f"Collections_{ext}",
            ext,
            [("octets", Seq(o)), ("raw", Arr(u8, 3)), ("doubles", Seq(f64)), ("shorts", Seq(i16, 9)), ("texts", Seq(s))]
            + [("flags", Seq(b)), ("grid", Arr(i32, 2, 3)), ("words", Arr(s, 2, 2)), ("lists", Seq(Seq(i16)))]
            + [("cube", Arr(i8, 2, 2, 2)), ("rows", Seq(Arr(f32, 3))), ("chars", Arr(c, 3))],
        )
        yield Struct(
            f"Keyed_{ext}",
            ext,
            [("noise", s), ("k", i32, "key"), ("inner", inner, "key"), ("text", Str(20), "key"), ("more", f64), ("k2", u8, "key")],
        )
        yield Struct(f"Maps_{ext}", ext, [("numbers", Map(i32, f64)), ("bytes", Map(i16, u8)), ("x", i64)])
        yield Struct(f"Texts_{ext}", ext, [("m", Map(s, i32)), ("n", Map(i32, inner)), ("x", i64)])
        base = Struct(f"Base_{ext}", ext, [("first", i8, "key"), ("second", f64)])
        yield Struct(f"Derived_{ext}", ext, [("third", s), ("fourth", i16, "optional")], base)
        if ext != "mutable":
            number = Union(f"Number_{ext}", ext, i32, [("a", [1, 2], i64), ("t", [5], s)], ("rest", u8))
            flag = Union(f"Flag_{ext}", ext, b, [("yes", [True], f64)])
            by_color = Union(f"ByColor_{ext}", ext, color, [("n", [color.py.RED, color.py.BLUE], inner), ("l", [color.py.GREEN], Seq(i32))])
            yield Struct(f"Unions_{ext}", ext, [("c", i8), ("number", number), ("flag", flag), ("by", by_color), ("list", Seq(number))])
    loose = Struct("Loose", "mutable", [("a", i64, "id=4000"), ("b", s, "optional", "id=3"), ("c", Seq(f64), "id=16128")])
    yield Struct("Ids", "mutable", [("x", loose, "id=100"), ("y", i8, "id=7"), ("z", Arr(loose, 2), "id=70000")])
    tight = Struct("Tight", "final", [("a", i8), ("loose", loose), ("d", f64)])
    yield Struct("Mixed", "appendable", [("tight", tight), ("list", Seq(tight)), ("maybe", loose, "optional"), ("end", i8)])


def golden():
    result = []
    for topic in topics():
        machine = topic.py.__idl__
        machine.populate()
        samples = []
        for index in range(6):
            value = topic.gen()
            version2 = index % 2 == 1
            if topic.enum16 and not version2 or topic.map2 and version2:
                continue
            endian = [Endianness.Little, Endianness.Big][index // 2 % 2]
            sample = {"payload": machine.serialize(value, use_version_2=version2, endianness=endian).hex()}
            if machine.keyless is False:
                key = machine.serialize(
                    value, use_version_2=version2, endianness=endian, serialize_kind=SerializeKind.KeyDefinitionOrder
                )
                sample["key"] = key.hex()
            samples.append(sample | {"value": topic.js(value)})
        result.append({"type": topic.idl, "idl": "\n".join(IDL), "samples": samples})
    # One IDL for all: each type needs those before it.
    return {"idl": "\n".join(IDL), "topics": [{key: it[key] for key in ("type", "samples")} for it in result]}


def live():
    import time

    from cyclonedds.core import Policy, Qos
    from cyclonedds.domain import DomainParticipant
    from cyclonedds.pub import DataWriter
    from cyclonedds.sub import DataReader
    from cyclonedds.topic import Topic

    participant = DomainParticipant(77)
    for topic in topics():
        for version2 in (False, True):
            said = f"{topic.idl} {'XCDR2' if version2 else 'XCDR1'}"
            try:
                form = Policy.DataRepresentation(use_cdrv0_representation=not version2, use_xcdrv2_representation=version2)
                qos = Qos(form, Policy.Reliability.Reliable(0), Policy.History.KeepAll)
                it = Topic(participant, f"{topic.idl}{version2}", topic.py)
                reader, writer = DataReader(participant, it, qos=qos), DataWriter(participant, it, qos=qos)
                values = [topic.gen() for _ in range(5)]
                for value in values:
                    writer.write(value)
                time.sleep(0.05)
                found = reader.take(20)
                # Instances come in an order of their own.
                found, values = (sorted(json.dumps(topic.js(it)) for it in those) for those in (found, values))
                print(said, "same" if found == values else f"OTHER {found} for {values}")
            except Exception as error:
                print(said, "FAILED", repr(error)[:150])


if sys.argv[1:] == ["live"]:
    live()
else:
    json.dump(golden(), sys.stdout, indent=None, separators=(",", ":"), ensure_ascii=True)
