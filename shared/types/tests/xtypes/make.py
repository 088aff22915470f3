"""Makes the golden files beside it: TypeInformation and TypeMapping of `m::Root` of each IDL file, as hex.

Usage: python3 make.py        (needs the package cyclonedds 11.0.1; and idlc 0.10.2 for the files `*.idlc.hex`)

`<name>.python.hex` comes from the classes below, which say the same as `<name>.idl`; `<name>.idlc.hex` from
`<name>.idl` itself; `<name>.objects.hex` from TypeObjects that are put together below, for what neither can do. Each
has two lines: `information <hex>` and `mapping <hex>`.
"""

import re
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Optional

from cyclonedds.idl import IdlBitmask, IdlEnum, IdlStruct, IdlUnion
from cyclonedds.idl._support import Endianness
from cyclonedds.idl._typesupport.DDS import XTypes as xt
from cyclonedds.idl._xt_builder import TypeHash
from cyclonedds.idl.annotations import (
    appendable, bit_bound, default_literal, final, key, member_id, mutable, position)
from cyclonedds.idl.types import (
    array, bounded_str, byte, case, char, default, float32, float64, int8, int16, int32, int64, sequence,
    typedef, uint8, uint16, uint32, uint64)

HERE = Path(__file__).parent
ROOTS = {}

# What idlc 0.10.2 cannot do: arrays of sequences in lists.idl, maps, wide characters and mutable unions are errors, recursive types do not end.
NOT_IDLC = {"lists", "maps", "wides", "mutables", "recursive", "mutual"}


def root(name):
    def register(cls):
        ROOTS[name] = cls
        return cls
    return register


# primitives

@root("primitives")
@dataclass
@final
class Primitives(IdlStruct, typename="m.Root"):
    flag: bool
    raw: byte
    i8: int8
    u8: uint8
    i16: int16
    u16: uint16
    i32: int32
    u32: uint32
    i64: int64
    u64: uint64
    f32: float32
    f64: float64
    letter: char
    text: str
    text8: bounded_str[8]
    text300: bounded_str[300]


# nested

@dataclass
@final
class RosString(IdlStruct, typename="std_msgs.msg.dds_.String_"):
    data_: str


@dataclass
@appendable
class NestedLeaf(IdlStruct, typename="m.inner.Leaf"):
    a: int32
    b: float64


@dataclass
@mutable
class Middle(IdlStruct, typename="m.Middle"):
    leaf: NestedLeaf
    text: RosString
    member_id("text", 77)


@root("nested")
@dataclass
@appendable
class Nested(IdlStruct, typename="m.Root"):
    mid: Middle
    last: NestedLeaf


# inheritance

@dataclass
@appendable
class Grand(IdlStruct, typename="m.Grand"):
    id: int32
    key("id")
    stamp: int64


@dataclass
@appendable
class Parent(Grand, typename="m.Parent"):
    name: str


@root("inheritance")
@dataclass
@appendable
class Inheritance(Parent, typename="m.Root"):
    value: float64


# enums

class Plain(IdlEnum, typename="m.Plain"):
    ZERO = 0
    ONE = 1
    TWO = 2


@bit_bound(8)
class Small(IdlEnum, typename="m.Small", default="S_TWO"):
    S_ONE = 0
    S_TWO = 1
    S_FIVE = 5


@bit_bound(16)
class Wide(IdlEnum, typename="m.Wide"):
    W_A = 300
    W_B = 301


@root("enums")
@dataclass
@final
class Enums(IdlStruct, typename="m.Root"):
    p: Plain
    s: Small
    w: Wide
    list: sequence[Small]


# bitmasks

@dataclass
@bit_bound(8)
class Bits8(IdlBitmask, typename="m.Bits8"):
    B_A: bool = False
    B_D: bool = False
    position("B_D", 3)
    B_E: bool = False


@dataclass
class Bits32(IdlBitmask, typename="m.Bits32"):
    C_A: bool = False
    C_Z: bool = False
    position("C_Z", 31)


@dataclass
@bit_bound(64)
class Bits64(IdlBitmask, typename="m.Bits64"):
    D_A: bool = False
    D_Z: bool = False
    position("D_Z", 31)


@root("bitmasks")
@dataclass
@final
class Bitmasks(IdlStruct, typename="m.Root"):
    b8: Bits8
    b32: Bits32
    b64: Bits64


# unions

class Color(IdlEnum, typename="m.Color"):
    RED = 0
    GREEN = 1
    BLUE = 7


@dataclass
@final
class Point(IdlStruct, typename="m.Point"):
    x: int32
    y: int32


@final
class ByBool(IdlUnion, discriminator=bool, typename="m.ByBool"):
    yes: case[[True], int32]
    no: default[str]


@appendable
class ByLong(IdlUnion, discriminator=int32, typename="m.ByLong"):
    a: case[[-1, 2, 70000], int32]
    p: case[[3], Point]
    d: default[bounded_str[16]]


@final
class ByColor(IdlUnion, discriminator=Color, typename="m.ByColor"):
    red_value: case[[Color.RED], float64]
    gb: case[[Color.GREEN, Color.BLUE], sequence[int32]]


@final
class ByU16(IdlUnion, discriminator=uint16, typename="m.ByU16"):
    top: case[[65535], int32]
    other: default[byte]


@final
class ByU32(IdlUnion, discriminator=uint32, typename="m.ByU32"):
    five: case[[5], int32]
    other: default[byte]


@root("unions")
@dataclass
@final
class Unions(IdlStruct, typename="m.Root"):
    b: ByBool
    l: ByLong
    c: ByColor
    s: ByU16
    u: ByU32


# optionals

@dataclass
@final
class OptionalLeaf(IdlStruct, typename="m.Leaf"):
    a: int32
    s: Optional[str]


@root("optionals")
@dataclass
@appendable
class Optionals(IdlStruct, typename="m.Root"):
    a: Optional[int32]
    leaf: Optional[OptionalLeaf]
    list: Optional[sequence[float64, 4]]
    last: int32


# collections

@dataclass
@final
class Leaf(IdlStruct, typename="m.Leaf"):
    a: int32


class Kind(IdlEnum, typename="m.Kind"):
    K_A = 0
    K_B = 1


@root("collections")
@dataclass
@final
class Collections(IdlStruct, typename="m.Root"):
    s: sequence[int32]
    s4: sequence[int32, 4]
    s1000: sequence[int32, 1000]
    texts: sequence[bounded_str[16], 4]
    lists: sequence[sequence[Leaf], 3]
    a: array[int32, 3]
    grid: array[array[array[float64, 4], 3], 2]
    big: array[float32, 2000]
    leaves: array[Leaf, 5]
    kinds: sequence[Kind]
    names: array[str, 2]
    blob: sequence[byte, 60000]


# keys

@dataclass
@final
class Where(IdlStruct, typename="m.Where"):
    row: int32
    key("row")
    column: int32
    key("column")
    note: str


@dataclass
@final
class PlainKey(IdlStruct, typename="m.Plain"):
    a: int32
    b: int32


@root("keys")
@dataclass
@final
class Keys(IdlStruct, typename="m.Root"):
    id: bounded_str[32]
    key("id")
    whole: PlainKey
    place: Where
    key("place")
    both: PlainKey
    key("both")
    value: float64


# typedefs

Count = typedef["m.Count", int32]
Counts = typedef["m.Counts", array[Count, 3]]
CountList = typedef["m.CountList", sequence[Count]]
Name = typedef["m.Name", bounded_str[12]]


@dataclass
@final
class CountLeaf(IdlStruct, typename="m.Leaf"):
    c: Count


LeafAlias = typedef["m.LeafAlias", CountLeaf]
LeafAlias2 = typedef["m.LeafAlias2", LeafAlias]


@root("typedefs")
@dataclass
@final
class Typedefs(IdlStruct, typename="m.Root"):
    n: Count
    three: Counts
    list: CountList
    text: Name
    deep: LeafAlias2
    names: sequence[Name, 9]
    lists: sequence[CountList]


# extensibility

@dataclass
@final
class Fin(IdlStruct, typename="m.Fin"):
    a: int32


@dataclass
@appendable
class App(IdlStruct, typename="m.App"):
    a: int32


@dataclass
@mutable
class Mut(IdlStruct, typename="m.Mut"):
    a: int32
    member_id("a", 10)
    b: int32
    member_id("b", 3)
    c: int32


@root("extensibility")
@dataclass
@mutable
class Extensibility(IdlStruct, typename="m.Root"):
    id: int32
    key("id")
    member_id("id", 100)
    f: Fin
    a: App
    m: Mut
    o: Optional[Mut]


# recursive

@dataclass
@final
class Tree(IdlStruct, typename="m.Tree"):
    value: int32
    children: sequence["Tree"]


@root("recursive")
@dataclass
@final
class Recursive(IdlStruct, typename="m.Root"):
    tree: Tree
    name: str


# mutual

@dataclass
@appendable
class Left(IdlStruct, typename="m.Left"):
    value: int32
    rights: sequence["Right"]


@dataclass
@appendable
class Right(IdlStruct, typename="m.Right"):
    text: str
    left: Optional["Left"]


@root("mutual")
@dataclass
@final
class Mutual(IdlStruct, typename="m.Root"):
    l: Left
    r: Right


# TypeObjects put together: maps, wide characters, mutable unions, collections that are not plain.

def primitive(kind):
    return xt.TypeIdentifier(discriminator=kind, value=None)


def string(bound=0):
    return xt.TypeIdentifier(discriminator=xt.TI_STRING8_SMALL, value=xt.StringSTypeDefn(bound=bound))


def wide(bound=0):
    if bound < 256:
        return xt.TypeIdentifier(discriminator=xt.TI_STRING16_SMALL, value=xt.StringSTypeDefn(bound=bound))
    return xt.TypeIdentifier(discriminator=xt.TI_STRING16_LARGE, value=xt.StringLTypeDefn(bound=bound))


def plain(equivalence=xt.EK_COMPLETE):
    return xt.PlainCollectionHeader(equiv_kind=equivalence, element_flags=xt.MemberFlag(TRY_CONSTRUCT1=True))


def plain_map(key, value, bound=0):
    kind, definition = (
        (xt.TI_PLAIN_MAP_SMALL, xt.PlainMapSTypeDefn) if bound < 256 else (xt.TI_PLAIN_MAP_LARGE, xt.PlainMapLTypeDefn))
    return xt.TypeIdentifier(discriminator=kind, value=definition(
        header=plain(), bound=bound, element_identifier=value, key_flags=xt.MemberFlag(TRY_CONSTRUCT1=True),
        key_identifier=key))


def plain_sequence(element, bound=0):
    return xt.TypeIdentifier(discriminator=xt.TI_PLAIN_SEQUENCE_SMALL, value=xt.PlainSequenceSElemDefn(
        header=plain(), bound=bound, element_identifier=element))


class Objects:
    """A TypeMapping in the making."""

    def __init__(self):
        self.hashes = []

    def add(self, **complete):
        """Takes a CompleteTypeObject, and gives its identifier."""
        made = TypeHash(
            cls=None,
            minimal_type_object=xt.MinimalTypeObject(enumerated_type=xt.MinimalEnumeratedType(
                enum_flags=xt.TypeFlag(IS_FINAL=True),
                header=xt.MinimalEnumeratedHeader(common=xt.CommonEnumeratedHeader(bit_bound=32)), literal_seq=[])),
            complete_type_object=xt.CompleteTypeObject(**complete))
        self.hashes.append(made)
        return made.complete_type_identifier

    def blobs(self):
        last = self.hashes[-1]
        information = xt.TypeInformation(*(xt.TypeIdentifierWithDependencies(
            typeid_with_size=xt.TypeIdentifierWithSize(type_id=type_id, typeobject_serialized_size=1),
            dependent_typeid_count=0, dependent_typeids=[],
        ) for type_id in (last.minimal_type_identifier, last.complete_type_identifier)))
        mapping = xt.TypeMapping([], [
            xt.TypeIdentifierTypeObjectPair(it.complete_type_identifier, it.complete_type_object) for it in self.hashes
        ], [])
        return [it.serialize(endianness=Endianness.Little, use_version_2=True)[4:] for it in (information, mapping)]

    def struct(self, name, members, flags=None):
        return self.add(struct_type=xt.CompleteStructType(
            struct_flags=flags or xt.TypeFlag(IS_FINAL=True),
            header=xt.CompleteStructHeader(base_type=primitive(xt.TK_NONE), detail=detail(name)),
            member_seq=[xt.CompleteStructMember(
                common=xt.CommonStructMember(
                    member_id=index, member_flags=xt.MemberFlag(TRY_CONSTRUCT1=True), member_type_id=ty),
                detail=member(name)) for index, (name, ty) in enumerate(members)]))

    def map(self, key, value, bound=0):
        return self.add(map_type=xt.CompleteMapType(
            collection_flag=xt.TypeFlag(), header=collection(bound), key=element(key), element=element(value)))

    def sequence(self, of, bound=0):
        return self.add(sequence_type=xt.CompleteSequenceType(
            collection_flag=xt.TypeFlag(), header=collection(bound), element=element(of)))

    def array(self, of, *dimensions):
        return self.add(array_type=xt.CompleteArrayType(
            collection_flag=xt.TypeFlag(),
            header=xt.CompleteArrayHeader(
                common=xt.CommonArrayHeader(bound_seq=list(dimensions)), detail=detail("")),
            element=element(of)))

    def union(self, name, discriminator, cases, flags):
        return self.add(union_type=xt.CompleteUnionType(
            union_flags=flags,
            header=xt.CompleteUnionHeader(detail=detail(name)),
            discriminator=xt.CompleteDiscriminatorMember(
                common=xt.CommonDiscriminatorMember(
                    member_flags=xt.MemberFlag(TRY_CONSTRUCT1=True, IS_MUST_UNDERSTAND=True), type_id=discriminator),
                ann_builtin=None, ann_custom=None),
            member_seq=[xt.CompleteUnionMember(
                common=xt.CommonUnionMember(
                    member_id=number, member_flags=xt.MemberFlag(TRY_CONSTRUCT1=True, IS_DEFAULT=not labels),
                    type_id=ty, label_seq=labels),
                detail=member(name)) for number, name, ty, labels in cases]))


def detail(name, text=None):
    verbatim = xt.AppliedBuiltinTypeAnnotations(
        verbatim=xt.AppliedVerbatimAnnotation(placement="BEFORE_DECLARATION", language="*", text=text))
    return xt.CompleteTypeDetail(ann_builtin=verbatim if text else None, ann_custom=None, type_name=name)


def member(name):
    return xt.CompleteMemberDetail(name=name, ann_builtin=None, ann_custom=None)


def collection(bound):
    return xt.CompleteCollectionHeader(common=xt.CommonCollectionHeader(bound=bound), detail=None)


def element(of):
    return xt.CompleteCollectionElement(
        common=xt.CommonCollectionElement(element_flags=xt.MemberFlag(TRY_CONSTRUCT1=True), type=of),
        detail=xt.CompleteElementDetail(ann_builtin=None, ann_custom=None))


def maps():
    objects = Objects()
    i16, i32, octet = (primitive(kind) for kind in (xt.TK_INT16, xt.TK_INT32, xt.TK_BYTE))
    leaf = objects.struct("m::Leaf", [("a", i32)])
    inner = objects.map(octet, plain_sequence(leaf))
    objects.struct("m::Root", [
        ("a", plain_map(i32, string())),
        ("b", plain_map(string(8), leaf, 10)),
        ("c", objects.map(i16, inner, 1000)),
    ])
    return objects


def wides():
    objects = Objects()
    objects.struct("m::Root", [
        ("a", primitive(xt.TK_CHAR16)), ("b", wide()), ("c", wide(7)), ("d", wide(700)),
        ("e", primitive(xt.TK_FLOAT128)),
    ])
    return objects


def mutables():
    objects = Objects()
    i32 = primitive(xt.TK_INT32)
    wide_union = objects.union("m::ByU32", primitive(xt.TK_UINT32), [
        (1, "top", i32, [-1, 5]), (9, "other", primitive(xt.TK_BYTE), []),
    ], xt.TypeFlag(IS_MUTABLE=True))
    objects.struct("m::Root", [("u", wide_union)], xt.TypeFlag(IS_MUTABLE=True))
    return objects


def lists():
    objects = Objects()
    i32 = primitive(xt.TK_INT32)
    leaf = objects.struct("m::Leaf", [("a", i32)])
    objects.struct("m::Root", [
        ("a", objects.sequence(objects.sequence(leaf, 5))),
        ("b", objects.array(objects.sequence(i32), 2, 300)),
        ("c", plain_sequence(objects.sequence(leaf, 3), 9)),
    ])
    return objects


OBJECTS = {make.__name__: make for make in (maps, wides, mutables, lists)}


def write(name, source, information, mapping):
    text = f"information {information.hex()}\nmapping {mapping.hex()}\n"
    (HERE / f"{name}.{source}.hex").write_text(text)


def of_python(name):
    described = ROOTS[name].__idl__
    described.populate()
    described.fill_type_data()
    write(name, "python", *described._xt_bytedata)


def of_objects(name):
    write(name, "objects", *OBJECTS[name]().blobs())


def of_idlc(name):
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run(["idlc", "-o", folder, HERE / f"{name}.idl"], check=True, timeout=10)
        text = Path(folder, f"{name}.c").read_text()

    def blob(macro):
        body = re.search(rf"#define {macro}_m_Root \((?:const )?unsigned char \[\]\)\{{(.*?)\}}", text, re.S).group(1)
        return bytes(int(value, 16) for value in re.findall(r"0x([0-9a-f]+)", body))

    write(name, "idlc", blob("TYPE_INFO_CDR"), blob("TYPE_MAP_CDR"))


def main():
    failed = False
    for path in sorted(HERE.glob("*.idl")):
        makers = [of_python] if path.stem in ROOTS else []
        makers += [of_objects] if path.stem in OBJECTS else []
        makers += [of_idlc] if path.stem not in NOT_IDLC else []
        for make in makers:
            try:
                make(path.stem)
            except Exception as error:
                failed = True
                print(f"{path.stem}: {make.__name__}: {type(error).__name__}: {error}", file=sys.stderr)
    return failed


if __name__ == "__main__":
    sys.exit(main())
