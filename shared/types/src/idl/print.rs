//! A model back to IDL text, for people and for tests: [`super::parse`] of it gives the same model.

use std::fmt::Write;

use crate::model::{
    Case, Definition, Extensibility, Member, Metadata, Struct, Type, TypeName, Versions,
};

/// Definitions in the given order; each must come after those it holds, as IDL wants it.
pub fn print<'d>(
    versions: &Versions,
    definitions: impl IntoIterator<Item = &'d Definition>,
) -> String {
    let mut text = String::new();
    let word = |key, value: &Option<String>| value.as_ref().map(|value| format!(" {key}={value}"));
    let words = [
        word("SAL_VERSION", &versions.sal),
        word("XML_VERSION", &versions.xml),
    ];
    if words.iter().any(Option::is_some) {
        text = format!("//{}\n", words.into_iter().flatten().collect::<String>());
    }
    for definition in definitions {
        let scope = definition.name().scope();
        let modules = scope.split("::").filter(|module| !module.is_empty());
        let closing: String = modules
            .map(|module| {
                put(&mut text, format_args!("module {} {{\n", escaped(module)));
                "};\n"
            })
            .collect();
        definition_text(&mut text, definition);
        text.push_str(&closing);
    }
    text
}

/// Writing to a `String` cannot fail.
fn put(text: &mut String, arguments: std::fmt::Arguments<'_>) {
    let written = text.write_fmt(arguments);
    debug_assert!(written.is_ok(), "a String takes everything");
}

fn definition_text(text: &mut String, definition: &Definition) {
    match definition {
        Definition::Struct(it) => structure(text, it),
        Definition::Union(it) => {
            text.push_str(extensibility(it.extensibility));
            let (name, switch) = (local(&it.name), type_text(&it.discriminator));
            put(
                text,
                format_args!(
                    "union {name} switch ({switch}) {{{}\n",
                    comment(&it.metadata)
                ),
            );
            it.cases.iter().for_each(|it| case(text, it));
            text.push_str("};\n");
        }
        Definition::Enum(it) => {
            put(
                text,
                format_args!("@bit_bound({}) enum {} {{\n", it.bit_bound, local(&it.name)),
            );
            for (index, literal) in it.literals.iter().enumerate() {
                let default = if it.default == Some(index) {
                    "@default_literal "
                } else {
                    ""
                };
                let (name, value) = (escaped(&literal.name), literal.value);
                put(text, format_args!("  {default}@value({value}) {name},\n"));
            }
            text.push_str("};\n");
        }
        Definition::Bitmask(it) => {
            put(
                text,
                format_args!(
                    "@bit_bound({}) bitmask {} {{\n",
                    it.bit_bound,
                    local(&it.name)
                ),
            );
            for flag in &it.flags {
                put(
                    text,
                    format_args!("  @position({}) {},\n", flag.position, escaped(&flag.name)),
                );
            }
            text.push_str("};\n");
        }
        Definition::Alias(it) => {
            put(
                text,
                format_args!("typedef {};\n", declaration(&it.ty, &local(&it.name))),
            );
        }
    }
}

fn structure(text: &mut String, it: &Struct) {
    text.push_str(extensibility(it.extensibility));
    let base = it
        .base
        .as_ref()
        .map(|base| format!(" : ::{}", path(base)))
        .unwrap_or_default();
    let (name, header) = (local(&it.name), comment(&it.metadata));
    put(text, format_args!("struct {name}{base} {{{header}\n"));
    let nested = it.keys.iter().any(|path| path.len() > 1);
    for member in &it.members {
        let key = if !nested && it.is_key(&member.name) {
            "@key "
        } else {
            ""
        };
        put(text, format_args!("  {key}{}\n", member_text(member)));
    }
    text.push_str("};\n");
    if nested {
        let paths: String = it
            .keys
            .iter()
            .map(|path| format!(" {}", path.join(".")))
            .collect();
        put(
            text,
            format_args!("#pragma keylist {}{paths}\n", it.name.local()),
        );
    }
}

fn case(text: &mut String, it: &Case) {
    let labels: String = it
        .labels
        .iter()
        .map(|label| format!("case {label}: "))
        .collect();
    let default = if it.is_default { "default: " } else { "" };
    put(
        text,
        format_args!("  {labels}{default}{}\n", member_text(&it.member)),
    );
}

fn member_text(it: &Member) -> String {
    let optional = if it.optional { "@optional " } else { "" };
    let declaration = declaration(&it.ty, &escaped(&it.name));
    format!(
        "@id({}) {optional}{declaration};{}",
        it.id,
        comment(&it.metadata)
    )
}

fn declaration(ty: &Type, name: &str) -> String {
    match ty {
        Type::Array {
            element,
            dimensions,
        } => {
            let sizes: String = dimensions.iter().map(|size| format!("[{size}]")).collect();
            format!("{} {name}{sizes}", type_text(element))
        }
        Type::Primitive(_)
        | Type::String { .. }
        | Type::WString { .. }
        | Type::Sequence { .. }
        | Type::Map { .. }
        | Type::Named(_) => format!("{} {name}", type_text(ty)),
    }
}

/// An array has no text of its own in IDL: its sizes follow the name. One inside a sequence needs
/// a typedef, so a parsed model never has it there, and it prints as its element.
fn type_text(ty: &Type) -> String {
    let bounded = |bound: &Option<u32>, separator: &str| match bound {
        Some(bound) => format!("{separator}{bound}"),
        None => String::new(),
    };
    match ty {
        Type::Primitive(primitive) => primitive.idl().to_owned(),
        Type::String { bound: None } => "string".to_owned(),
        Type::String { bound: Some(bound) } => format!("string<{bound}>"),
        Type::WString { bound: None } => "wstring".to_owned(),
        Type::WString { bound: Some(bound) } => format!("wstring<{bound}>"),
        Type::Array { element, .. } => type_text(element),
        Type::Sequence { element, bound } => {
            format!("sequence<{}{}>", type_text(element), bounded(bound, ", "))
        }
        Type::Map { key, value, bound } => {
            format!(
                "map<{}, {}{}>",
                type_text(key),
                type_text(value),
                bounded(bound, ", ")
            )
        }
        Type::Named(name) => format!("::{}", path(name)),
    }
}

fn extensibility(extensibility: Extensibility) -> &'static str {
    match extensibility {
        Extensibility::Final => "",
        Extensibility::Appendable => "@appendable ",
        Extensibility::Mutable => "@mutable ",
    }
}

fn comment(metadata: &Metadata) -> String {
    let Metadata { units, description } = metadata;
    let units = units.as_ref().map(|units| format!("Units=\"{units}\""));
    let description = description
        .as_ref()
        .map(|text| format!("Description=\"{text}\""));
    let parts: Vec<String> = units.into_iter().chain(description).collect();
    if parts.is_empty() {
        String::new()
    } else {
        format!(" // @Metadata=({})", parts.join(","))
    }
}

fn local(name: &TypeName) -> String {
    escaped(name.local())
}

fn path(name: &TypeName) -> String {
    let parts: Vec<String> = name.as_str().split("::").map(escaped).collect();
    parts.join("::")
}

/// The underscore lets a name be a keyword; it is not part of the name.
fn escaped(name: &str) -> String {
    format!("_{name}")
}
