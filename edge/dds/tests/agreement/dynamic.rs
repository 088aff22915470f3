//! A random type, built by Cyclone's API for dynamic types.

use std::collections::BTreeMap;
use std::ffi::CString;
use std::marker::PhantomData;
use std::mem::ManuallyDrop;
use std::ptr;

use cyclonedds_sys as dds;
use efd_shared_types::model::{Extensibility, Primitive};

use crate::choices::Choices;
use crate::cyclone::Domain;
use crate::types::{BitsTy, EnumTy, FLAGS, MemberTy, StructTy, Ty, UnionTy};

/// More than any text and sequence among the values has.
const BOUND: u32 = 40;

/// What Cyclone does not make, and its code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refused {
    pub what: &'static str,
    pub code: dds::dds_return_t,
}

impl Refused {
    pub fn check(what: &'static str, code: dds::dds_return_t) -> Result<(), Self> {
        if code < 0 {
            return Err(Self { what, code });
        }
        Ok(())
    }
}

/// A dynamic type, and the one reference to it. Of a refused one the parts are left to the domain.
#[derive(Debug)]
pub struct Dynamic<'d> {
    it: dds::dds_dynamic_type_t,
    domain: PhantomData<&'d Domain>,
}

impl Dynamic<'_> {
    /// The type is done. What is returned is to be freed.
    pub fn register(&mut self) -> Result<*mut dds::dds_typeinfo_t, Refused> {
        let mut type_info = ptr::null_mut();
        // SAFETY: a type under construction; the pointer is for the call to write.
        let code = unsafe { dds::dds_dynamic_type_register(&raw mut self.it, &raw mut type_info) };
        Refused::check("type", code)?;
        Ok(type_info)
    }

    /// As a part of another type, which takes the reference.
    fn into_spec(self) -> dds::dds_dynamic_type_spec_t {
        let it = self.it;
        std::mem::forget(self);
        let mut spec = dds::dds_dynamic_type_spec_t {
            kind: dds::dds_dynamic_type_spec_kind_DDS_DYNAMIC_TYPE_KIND_DEFINITION,
            ..Default::default()
        };
        // SAFETY: the field that `kind` says.
        unsafe { *spec.type_.type_.as_mut() = it };
        spec
    }
}

impl Drop for Dynamic<'_> {
    fn drop(&mut self) {
        // SAFETY: the one reference, given back once.
        unsafe { dds::dds_dynamic_type_unref(&raw mut self.it) };
    }
}

pub struct Maker<'d, 'c, 'b> {
    domain: &'d Domain,
    /// Of what does not change the meaning of a sample: bounds, `@external`, `@must_understand`, aliases.
    choices: &'c mut Choices<'b>,
    names: usize,
    /// Types made so far that have a name, and so a TypeObject.
    named: usize,
    /// Those that may be used again.
    done: BTreeMap<String, ManuallyDrop<Dynamic<'d>>>,
}

type Made<T> = Result<T, Refused>;

impl<'d, 'c, 'b> Maker<'d, 'c, 'b> {
    pub fn new(domain: &'d Domain, choices: &'c mut Choices<'b>) -> Self {
        Self {
            domain,
            choices,
            names: 0,
            named: 0,
            done: BTreeMap::new(),
        }
    }

    pub fn structure(&mut self, it: &StructTy) -> Made<Dynamic<'d>> {
        let (inherited, own) = it.members.split_at(it.inherited);
        let keys = |from: usize, members: &[MemberTy]| -> Vec<bool> {
            (from..from + members.len())
                .map(|at| it.keys.contains(&at))
                .collect()
        };
        let mut base = dds::dds_dynamic_type_spec_t::default();
        if !inherited.is_empty() {
            let name = format!("{}Base", it.name.trim_end_matches('_'));
            base = self
                .part(&name, it.ext, base, inherited, &keys(0, inherited))?
                .into_spec();
        }
        self.part(&it.name, it.ext, base, own, &keys(it.inherited, own))
    }

    fn part(
        &mut self,
        name: &str,
        ext: Extensibility,
        base: dds::dds_dynamic_type_spec_t,
        members: &[MemberTy],
        keys: &[bool],
    ) -> Made<Dynamic<'d>> {
        let mut made = self.create(dds::dds_dynamic_type_descriptor_t {
            kind: dds::dds_dynamic_type_kind_DDS_DYNAMIC_STRUCTURE,
            base_type: base,
            ..named(&c(name))
        })?;
        set_extensibility(&mut made, ext)?;
        for (member, is_key) in members.iter().zip(keys) {
            self.add(&mut made, member, &mut [], false)?;
            // Of an external struct that is read from a key, the library frees members that it never set.
            let external = self.choices.chance(30) && !has_keys(&member.ty);
            let must_understand = self.choices.chance(30);
            let it = &raw mut made.it;
            // SAFETY: a struct under construction, and a member that it has.
            unsafe {
                if *is_key {
                    let code = dds::dds_dynamic_member_set_key(it, member.id, true);
                    Refused::check("key", code)?;
                }
                if member.optional {
                    let code = dds::dds_dynamic_member_set_optional(it, member.id, true);
                    Refused::check("optional", code)?;
                }
                if external {
                    let code = dds::dds_dynamic_member_set_external(it, member.id, true);
                    Refused::check("external", code)?;
                }
                if must_understand {
                    let code = dds::dds_dynamic_member_set_must_understand(it, member.id, true);
                    Refused::check("must understand", code)?;
                }
            }
        }
        Ok(made)
    }

    fn union(&mut self, it: &UnionTy) -> Made<Dynamic<'d>> {
        let discriminator_type = self.spec(&it.disc)?;
        let mut made = self.create(dds::dds_dynamic_type_descriptor_t {
            kind: dds::dds_dynamic_type_kind_DDS_DYNAMIC_UNION,
            discriminator_type,
            ..named(&c(&it.name))
        })?;
        set_extensibility(&mut made, it.ext)?;
        for (at, (labels, member)) in it.cases.iter().enumerate() {
            let is_default = it.has_default && at + 1 == it.cases.len();
            let mut labels: Vec<i32> = labels.iter().map(|it| *it as i32).collect();
            if is_default {
                // It has no labels beside.
                labels.clear();
            }
            self.add(&mut made, member, &mut labels, is_default)?;
        }
        Ok(made)
    }

    fn add(
        &mut self,
        made: &mut Dynamic<'d>,
        member: &MemberTy,
        labels: &mut [i32],
        default_label: bool,
    ) -> Made<()> {
        let ty = self.spec(&member.ty)?;
        let name = c(&member.name);
        let member = dds::dds_dynamic_member_descriptor_t {
            name: name.as_ptr(),
            id: member.id,
            type_: ty,
            default_value: ptr::null_mut(),
            // Behind the others.
            index: u32::MAX,
            num_labels: labels.len() as u32,
            labels: labels.as_mut_ptr(),
            default_label,
        };
        // SAFETY: a type under construction; name and labels are copied.
        let code = unsafe { dds::dds_dynamic_type_add_member(&raw mut made.it, member) };
        Refused::check("member", code)
    }

    fn enumeration(&mut self, it: &EnumTy) -> Made<Dynamic<'d>> {
        let mut made = self.create(dds::dds_dynamic_type_descriptor_t {
            kind: dds::dds_dynamic_type_kind_DDS_DYNAMIC_ENUMERATION,
            ..named(&c(&it.name))
        })?;
        let explicit =
            dds::dds_dynamic_type_enum_value_kind_DDS_DYNAMIC_ENUM_LITERAL_VALUE_EXPLICIT;
        // SAFETY: a type under construction; names are copied.
        unsafe {
            let code = dds::dds_dynamic_type_set_bit_bound(&raw mut made.it, it.bit_bound.into());
            Refused::check("bit bound", code)?;
            for (at, value) in it.values.iter().enumerate() {
                let name = c(&format!("L{at}"));
                let value = dds::dds_dynamic_enum_literal_value_t {
                    value_kind: explicit,
                    value: *value,
                };
                let is_default = it.default == Some(at);
                let code = dds::dds_dynamic_type_add_enum_literal(
                    &raw mut made.it,
                    name.as_ptr(),
                    value,
                    is_default,
                );
                Refused::check("literal", code)?;
            }
        }
        Ok(made)
    }

    fn bitmask(&mut self, it: &BitsTy) -> Made<Dynamic<'d>> {
        let mut made = self.create(dds::dds_dynamic_type_descriptor_t {
            kind: dds::dds_dynamic_type_kind_DDS_DYNAMIC_BITMASK,
            ..named(&c(&it.name))
        })?;
        // SAFETY: a type under construction; names are copied.
        unsafe {
            let code = dds::dds_dynamic_type_set_bit_bound(&raw mut made.it, it.bit_bound.into());
            Refused::check("bit bound", code)?;
            for position in FLAGS {
                let name = c(&format!("F{position}"));
                let code = dds::dds_dynamic_type_add_bitmask_field(
                    &raw mut made.it,
                    name.as_ptr(),
                    position.into(),
                );
                Refused::check("flag", code)?;
            }
        }
        Ok(made)
    }

    fn spec(&mut self, ty: &Ty) -> Made<dds::dds_dynamic_type_spec_t> {
        let by_typedef = matches!(ty, Ty::Arr(_, _, true)) || self.choices.chance(15);
        // What a dynamic alias stands for is missing in the TypeMapping, where it has a TypeObject.
        let before = self.named;
        let mut spec = self.plain_spec(ty)?;
        if by_typedef && self.named == before {
            let name = self.name("alias");
            let alias = self.create(dds::dds_dynamic_type_descriptor_t {
                kind: dds::dds_dynamic_type_kind_DDS_DYNAMIC_ALIAS,
                base_type: spec,
                ..named(&name)
            })?;
            spec = alias.into_spec();
        }
        Ok(spec)
    }

    fn plain_spec(&mut self, ty: &Ty) -> Made<dds::dds_dynamic_type_spec_t> {
        let bound = [BOUND];
        let made = match ty {
            Ty::Prim(it) => return Ok(primitive(*it)),
            Ty::Str | Ty::Wide => {
                let kind = if matches!(ty, Ty::Str) {
                    dds::dds_dynamic_type_kind_DDS_DYNAMIC_STRING8
                } else {
                    dds::dds_dynamic_type_kind_DDS_DYNAMIC_STRING16
                };
                // For bounded wide text that is optional or external the library takes too little memory.
                let is_bounded = self.choices.chance(80) && matches!(ty, Ty::Str);
                self.create(dds::dds_dynamic_type_descriptor_t {
                    kind,
                    num_bounds: is_bounded.into(),
                    bounds: bound.as_ptr(),
                    ..Default::default()
                })?
            }
            Ty::Seq(element) => {
                let element_type = self.spec(element)?;
                let (name, is_bounded) = (self.name("sequence"), self.choices.chance(80));
                self.create(dds::dds_dynamic_type_descriptor_t {
                    kind: dds::dds_dynamic_type_kind_DDS_DYNAMIC_SEQUENCE,
                    element_type,
                    num_bounds: is_bounded.into(),
                    bounds: bound.as_ptr(),
                    ..named(&name)
                })?
            }
            Ty::Arr(element, dimensions, _) => {
                let element_type = self.spec(element)?;
                let name = self.name("array");
                self.create(dds::dds_dynamic_type_descriptor_t {
                    kind: dds::dds_dynamic_type_kind_DDS_DYNAMIC_ARRAY,
                    element_type,
                    num_bounds: dimensions.len() as u32,
                    bounds: dimensions.as_ptr(),
                    ..named(&name)
                })?
            }
            Ty::Map(key, value) => {
                let (key_element_type, element_type) = (self.spec(key)?, self.spec(value)?);
                let name = self.name("map");
                self.create(dds::dds_dynamic_type_descriptor_t {
                    kind: dds::dds_dynamic_type_kind_DDS_DYNAMIC_MAP,
                    key_element_type,
                    element_type,
                    ..named(&name)
                })?
            }
            Ty::Struct(it) => self.once(&it.name, |maker| maker.structure(it))?,
            Ty::Union(it) => self.once(&it.name, |maker| maker.union(it))?,
            Ty::Enum(it) => self.once(&it.name, |maker| maker.enumeration(it))?,
            Ty::Bits(it) => self.once(&it.name, |maker| maker.bitmask(it))?,
        };
        Ok(made.into_spec())
    }

    /// Another reference, if it is made already.
    fn once(
        &mut self,
        name: &str,
        make: impl FnOnce(&mut Self) -> Made<Dynamic<'d>>,
    ) -> Made<Dynamic<'d>> {
        if !self.done.contains_key(name) {
            let mut made = make(self)?;
            // Until then it is replaced by one of the domain that is equal, but not in other references.
            let type_info = made.register()?;
            // SAFETY: of the call before, freed once.
            unsafe { dds::dds_free_typeinfo(type_info) };
            // Left to the domain, like the whole type.
            self.done.insert(name.to_owned(), ManuallyDrop::new(made));
        }
        // For what it is a part of, it is one that has a TypeObject, made here or not.
        self.named += 1;
        let made = self.done.get_mut(name).unwrap();
        // SAFETY: a type that is done.
        let it = unsafe { dds::dds_dynamic_type_ref(&raw mut made.it) };
        Refused::check("reference", it.ret)?;
        Ok(Dynamic {
            it,
            domain: PhantomData,
        })
    }

    fn create(&mut self, descriptor: dds::dds_dynamic_type_descriptor_t) -> Made<Dynamic<'d>> {
        self.named += usize::from(matches!(
            descriptor.kind,
            dds::dds_dynamic_type_kind_DDS_DYNAMIC_STRUCTURE
                | dds::dds_dynamic_type_kind_DDS_DYNAMIC_UNION
                | dds::dds_dynamic_type_kind_DDS_DYNAMIC_ENUMERATION
                | dds::dds_dynamic_type_kind_DDS_DYNAMIC_BITMASK
                | dds::dds_dynamic_type_kind_DDS_DYNAMIC_ALIAS
        ));
        // SAFETY: a live participant; names and bounds are copied, types that are parts are taken.
        let it = unsafe { dds::dds_dynamic_type_create(self.domain.participant, descriptor) };
        Refused::check(kind_name(descriptor.kind), it.ret)?;
        Ok(Dynamic {
            it,
            domain: PhantomData,
        })
    }

    fn name(&mut self, kind: &str) -> CString {
        self.names += 1;
        c(&format!("made::{kind}{}", self.names))
    }
}

fn has_keys(ty: &Ty) -> bool {
    match ty {
        Ty::Struct(it) => !it.keys.is_empty() || it.members.iter().any(|it| has_keys(&it.ty)),
        Ty::Union(it) => it.cases.iter().any(|it| has_keys(&it.1.ty)),
        Ty::Seq(element) | Ty::Arr(element, ..) => has_keys(element),
        _ => false,
    }
}

fn set_extensibility(made: &mut Dynamic<'_>, ext: Extensibility) -> Made<()> {
    let ext = match ext {
        Extensibility::Final => dds::dds_dynamic_type_extensibility_DDS_DYNAMIC_TYPE_EXT_FINAL,
        Extensibility::Appendable => {
            dds::dds_dynamic_type_extensibility_DDS_DYNAMIC_TYPE_EXT_APPENDABLE
        }
        Extensibility::Mutable => dds::dds_dynamic_type_extensibility_DDS_DYNAMIC_TYPE_EXT_MUTABLE,
    };
    // SAFETY: a type under construction, without members.
    let code = unsafe { dds::dds_dynamic_type_set_extensibility(&raw mut made.it, ext) };
    Refused::check("extensibility", code)
}

fn c(text: &str) -> CString {
    CString::new(text).unwrap()
}

fn named(name: &CString) -> dds::dds_dynamic_type_descriptor_t {
    dds::dds_dynamic_type_descriptor_t {
        name: name.as_ptr(),
        ..Default::default()
    }
}

fn kind_name(kind: dds::dds_dynamic_type_kind_t) -> &'static str {
    match kind {
        dds::dds_dynamic_type_kind_DDS_DYNAMIC_MAP => "map",
        dds::dds_dynamic_type_kind_DDS_DYNAMIC_STRUCTURE => "struct",
        dds::dds_dynamic_type_kind_DDS_DYNAMIC_UNION => "union",
        dds::dds_dynamic_type_kind_DDS_DYNAMIC_SEQUENCE => "sequence",
        dds::dds_dynamic_type_kind_DDS_DYNAMIC_ARRAY => "array",
        dds::dds_dynamic_type_kind_DDS_DYNAMIC_ALIAS => "alias",
        _ => "type",
    }
}

fn primitive(it: Primitive) -> dds::dds_dynamic_type_spec_t {
    let kind = match it {
        Primitive::Boolean => dds::dds_dynamic_type_kind_DDS_DYNAMIC_BOOLEAN,
        Primitive::Octet => dds::dds_dynamic_type_kind_DDS_DYNAMIC_BYTE,
        Primitive::I8 => dds::dds_dynamic_type_kind_DDS_DYNAMIC_INT8,
        Primitive::U8 => dds::dds_dynamic_type_kind_DDS_DYNAMIC_UINT8,
        Primitive::I16 => dds::dds_dynamic_type_kind_DDS_DYNAMIC_INT16,
        Primitive::U16 => dds::dds_dynamic_type_kind_DDS_DYNAMIC_UINT16,
        Primitive::I32 => dds::dds_dynamic_type_kind_DDS_DYNAMIC_INT32,
        Primitive::U32 => dds::dds_dynamic_type_kind_DDS_DYNAMIC_UINT32,
        Primitive::I64 => dds::dds_dynamic_type_kind_DDS_DYNAMIC_INT64,
        Primitive::U64 => dds::dds_dynamic_type_kind_DDS_DYNAMIC_UINT64,
        Primitive::F32 => dds::dds_dynamic_type_kind_DDS_DYNAMIC_FLOAT32,
        Primitive::F64 => dds::dds_dynamic_type_kind_DDS_DYNAMIC_FLOAT64,
        Primitive::F128 => dds::dds_dynamic_type_kind_DDS_DYNAMIC_FLOAT128,
        Primitive::Char8 => dds::dds_dynamic_type_kind_DDS_DYNAMIC_CHAR8,
        Primitive::Char16 => dds::dds_dynamic_type_kind_DDS_DYNAMIC_CHAR16,
    };
    let mut spec = dds::dds_dynamic_type_spec_t {
        kind: dds::dds_dynamic_type_spec_kind_DDS_DYNAMIC_TYPE_KIND_PRIMITIVE,
        ..Default::default()
    };
    // SAFETY: the field that `kind` says.
    unsafe { *spec.type_.primitive.as_mut() = kind };
    spec
}
