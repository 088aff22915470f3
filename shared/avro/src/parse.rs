//! From a schema's text to the table of its types, and from that to the fields of its records.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde_json::Value as Json;

use crate::nested::{FIXED_BYTES, NestedType, Node, NodeId, RECORDS_MAX, RecordField};
use crate::nested::{RecordNode, Table};
use crate::schema::{EnumType, FIELDS_MAX, Field, FieldType, RecordSchema, Scalar, SchemaError};

/// Looked at in search of types that hold themselves: what a schema of [`FIELDS_MAX`] plain fields never needs.
const STEPS_MAX: usize = 4 << 20;

pub(crate) fn schema(text: &str) -> Result<RecordSchema, SchemaError> {
    let json: Json =
        serde_json::from_str(text).map_err(|error| SchemaError::Json(error.to_string()))?;
    let kind = json.get("type").unwrap_or(&json);
    if kind.as_str() != Some("record") {
        return Err(SchemaError::NotARecord {
            found: excerpt(kind),
        });
    }
    let name = full_name(&json, "", "a record")?;
    let mut reader = Reader {
        record: name.clone(),
        nodes: Vec::new(),
        names: BTreeMap::new(),
    };
    let root = reader.record(&json, name.clone())?;
    let table = Arc::new(reader.finish()?);
    let mut fields = Fields {
        record: &name,
        is_recursive: BTreeMap::new(),
        steps: 0,
        table: &table,
        root,
        fields: Vec::new(),
    };
    fields.add_record(root, "", 0)?;
    let fields = fields.fields;
    let mut names = BTreeSet::new();
    if let Some(twice) = fields.iter().find(|field| !names.insert(&field.name)) {
        return Err(SchemaError::Duplicate {
            record: name,
            field: twice.name.clone(),
        });
    }
    Ok(RecordSchema {
        description: description(&json),
        name,
        fields,
    })
}

struct Reader {
    /// The outermost, for messages.
    record: String,
    nodes: Vec<Node>,
    /// What has a name can be named again, within itself too.
    names: BTreeMap<String, NodeId>,
}

impl Reader {
    fn add(&mut self, node: Node) -> NodeId {
        self.nodes.push(node);
        NodeId::new(self.nodes.len() - 1)
    }

    fn define(&mut self, name: &str, node: Node) -> Result<NodeId, SchemaError> {
        let id = self.add(node);
        match self.names.insert(name.to_owned(), id) {
            None => Ok(id),
            Some(_) => Err(malformed(&self.record, name, "is defined twice")),
        }
    }

    fn record(&mut self, json: &Json, name: String) -> Result<NodeId, SchemaError> {
        let fields = json
            .get("fields")
            .and_then(Json::as_array)
            .ok_or_else(|| malformed(&name, "fields", "is not an array"))?;
        if fields.len() > FIELDS_MAX {
            return Err(SchemaError::TooManyFields {
                record: name,
                found: fields.len(),
            });
        }
        let node = Node::Record(RecordNode {
            name: name.clone(),
            fields: Vec::new(),
        });
        let id = self.define(&name, node)?;
        let fields = fields
            .iter()
            .map(|field| self.field(&name, field))
            .collect::<Result<Vec<_>, _>>()?;
        let mut names = BTreeSet::new();
        if let Some(twice) = fields.iter().find(|field| !names.insert(&field.name)) {
            return Err(SchemaError::Duplicate {
                record: name,
                field: twice.name.clone(),
            });
        }
        self.nodes[id.index()] = Node::Record(RecordNode { name, fields });
        Ok(id)
    }

    fn field(&mut self, record: &str, json: &Json) -> Result<RecordField, SchemaError> {
        let name = json.get("name").and_then(Json::as_str).unwrap_or_default();
        if name.is_empty() {
            return Err(malformed(record, "fields", "has a field without a name"));
        }
        let written = json
            .get("type")
            .ok_or_else(|| malformed(record, name, "has no type"))?;
        let node = self.ty(written, record, name)?;
        let length = match self.nodes[node.index()] {
            Node::Array(_) => json
                .get("default")
                .and_then(Json::as_array)
                .map(Vec::len)
                .filter(|&length| length > 0),
            Node::Scalar(_) | Node::Timestamp | Node::Enum(_) | Node::Fixed => None,
            Node::Nullable(_) | Node::Map(_) | Node::Record(_) => None,
        };
        Ok(RecordField {
            name: name.to_owned(),
            node,
            units: text_of(json, "units"),
            description: description(json),
            length,
        })
    }

    /// `record` and `field` are where the type is written.
    fn ty(&mut self, json: &Json, record: &str, field: &str) -> Result<NodeId, SchemaError> {
        let unsupported = || SchemaError::Unsupported {
            record: record.to_owned(),
            field: field.to_owned(),
            found: excerpt(json),
        };
        let namespace = record
            .rsplit_once('.')
            .map_or("", |(namespace, _)| namespace);
        if let Some(name) = json.as_str() {
            if let Some(scalar) = Scalar::from_name(name) {
                return Ok(self.add(Node::Scalar(scalar)));
            }
            let known = self.names.get(&qualified(name, namespace));
            let known = known.or_else(|| self.names.get(name));
            return known.copied().ok_or_else(unsupported);
        }
        if let Some(branches) = json.as_array() {
            let [null, other] = &branches[..] else {
                return Err(unsupported());
            };
            if null.as_str() != Some("null") || other.is_array() {
                return Err(unsupported());
            }
            let inner = self.ty(other, record, field)?;
            return Ok(self.add(Node::Nullable(inner)));
        }
        let kind = json.get("type").and_then(Json::as_str);
        let kind = kind.ok_or_else(unsupported)?;
        match kind {
            "array" | "map" => {
                let key = if kind == "array" { "items" } else { "values" };
                let written = json.get(key).ok_or_else(unsupported)?;
                let inner = self.ty(written, record, field)?;
                Ok(self.add(match kind {
                    "array" => Node::Array(inner),
                    _ => Node::Map(inner),
                }))
            }
            "record" => {
                let name = full_name(json, namespace, field)?;
                self.record(json, name)
            }
            "enum" => {
                let name = full_name(json, namespace, field)?;
                let symbols = json.get("symbols").and_then(Json::as_array);
                let symbols = symbols.ok_or_else(unsupported)?.iter();
                let symbols = symbols.map(|symbol| symbol.as_str().map(str::to_owned));
                let symbols = symbols.collect::<Option<_>>().ok_or_else(unsupported)?;
                let node = EnumType {
                    name: name.clone(),
                    symbols,
                };
                self.define(&name, Node::Enum(Arc::new(node)))
            }
            "fixed" => {
                let size = json.get("size").and_then(Json::as_u64);
                if size != Some(FIXED_BYTES as u64) {
                    return Err(unsupported());
                }
                let name = full_name(json, namespace, field)?;
                self.define(&name, Node::Fixed)
            }
            _ => {
                let scalar = Scalar::from_name(kind).ok_or_else(unsupported)?;
                let logical = json.get("logicalType").and_then(Json::as_str);
                Ok(self.add(match (scalar, logical) {
                    (Scalar::Long, Some("timestamp-nanos")) => Node::Timestamp,
                    _ => Node::Scalar(scalar),
                }))
            }
        }
    }

    fn finish(self) -> Result<Table, SchemaError> {
        let mut known = vec![None; self.nodes.len()];
        for index in 0..self.nodes.len() {
            self.bytes_min(NodeId::new(index), 0, &mut known)?;
        }
        Ok(Table {
            bytes_min: known.into_iter().map(Option::unwrap_or_default).collect(),
            nodes: self.nodes,
        })
    }

    fn bytes_min(
        &self,
        id: NodeId,
        depth: usize,
        known: &mut [Option<usize>],
    ) -> Result<usize, SchemaError> {
        if let Some(known) = known[id.index()] {
            return Ok(known);
        }
        let least = match &self.nodes[id.index()] {
            Node::Scalar(scalar) => scalar.bytes_min(),
            Node::Timestamp | Node::Enum(_) => 1,
            Node::Nullable(_) | Node::Array(_) | Node::Map(_) => 1,
            Node::Fixed => FIXED_BYTES,
            Node::Record(record) => {
                if depth == RECORDS_MAX {
                    return Err(SchemaError::TooDeep {
                        record: self.record.clone(),
                        within: record.name.clone(),
                    });
                }
                let mut sum = 0_usize;
                for field in &record.fields {
                    sum = sum.saturating_add(self.bytes_min(field.node, depth + 1, known)?);
                }
                sum
            }
        };
        known[id.index()] = Some(least);
        Ok(least)
    }
}

/// The fields of a record and of those within it.
struct Fields<'a> {
    record: &'a str,
    table: &'a Arc<Table>,
    root: NodeId,
    is_recursive: BTreeMap<NodeId, bool>,
    steps: usize,
    fields: Vec<Field>,
}

impl Fields<'_> {
    fn add_record(&mut self, id: NodeId, prefix: &str, depth: usize) -> Result<(), SchemaError> {
        let table = Arc::clone(self.table);
        let Node::Record(record) = &table.nodes[id.index()] else {
            return Ok(());
        };
        if depth == RECORDS_MAX {
            return Err(SchemaError::TooDeep {
                record: self.record.to_owned(),
                within: record.name.clone(),
            });
        }
        for field in &record.fields {
            let inner = match &table.nodes[field.node.index()] {
                Node::Nullable(inner) => *inner,
                Node::Scalar(_) | Node::Timestamp | Node::Enum(_) | Node::Fixed => field.node,
                Node::Array(_) | Node::Map(_) | Node::Record(_) => field.node,
            };
            let is_nullable = inner != field.node;
            let nested = || FieldType::Nested(NestedType::new(&table, field.node));
            let mut is_timestamp = false;
            let field_type = match &table.nodes[inner.index()] {
                Node::Scalar(scalar) => FieldType::Scalar(*scalar),
                Node::Timestamp => {
                    is_timestamp = true;
                    FieldType::Scalar(Scalar::Long)
                }
                Node::Enum(symbols) => FieldType::Enum(Arc::clone(symbols)),
                Node::Array(item) if !is_nullable => match &table.nodes[item.index()] {
                    Node::Scalar(scalar) => FieldType::Array(*scalar),
                    Node::Timestamp | Node::Enum(_) | Node::Fixed => nested(),
                    Node::Nullable(_) | Node::Array(_) => nested(),
                    Node::Map(_) | Node::Record(_) => nested(),
                },
                Node::Record(_) if !is_nullable && !self.is_recursive(inner)? => {
                    let prefix = format!("{prefix}{}.", field.name);
                    self.add_record(inner, &prefix, depth + 1)?;
                    continue;
                }
                Node::Array(_) | Node::Record(_) => nested(),
                Node::Fixed | Node::Map(_) | Node::Nullable(_) => nested(),
            };
            let found = self.fields.len() + 1;
            if found > FIELDS_MAX {
                return Err(SchemaError::TooManyFields {
                    record: self.record.to_owned(),
                    found,
                });
            }
            self.fields.push(Field {
                name: format!("{prefix}{}", field.name),
                is_nullable: is_nullable && !field_type.is_nested(),
                field_type,
                is_timestamp,
                units: field.units.clone(),
                description: field.description.clone(),
                length: field.length,
            });
        }
        Ok(())
    }

    /// Whether the record may hold itself, at whatever depth.
    fn is_recursive(&mut self, id: NodeId) -> Result<bool, SchemaError> {
        if id == self.root {
            return Ok(true);
        }
        if let Some(known) = self.is_recursive.get(&id) {
            return Ok(*known);
        }
        let mut seen = BTreeSet::new();
        let mut open = vec![id];
        let mut found = false;
        while let Some(next) = open.pop() {
            let inner: Vec<NodeId> = match &self.table.nodes[next.index()] {
                Node::Scalar(_) | Node::Timestamp | Node::Enum(_) | Node::Fixed => Vec::new(),
                Node::Nullable(inner) | Node::Array(inner) | Node::Map(inner) => vec![*inner],
                Node::Record(record) => record.fields.iter().map(|field| field.node).collect(),
            };
            self.steps += 1 + inner.len();
            if self.steps > STEPS_MAX {
                return Err(SchemaError::TooManyFields {
                    record: self.record.to_owned(),
                    found: self.table.nodes.len(),
                });
            }
            found |= inner.contains(&id);
            open.extend(inner.into_iter().filter(|inner| seen.insert(*inner)));
        }
        self.is_recursive.insert(id, found);
        Ok(found)
    }
}

fn full_name(json: &Json, enclosing: &str, of: &str) -> Result<String, SchemaError> {
    let name = json.get("name").and_then(Json::as_str).unwrap_or_default();
    if name.is_empty() {
        return Err(malformed(of, "name", "is missing"));
    }
    let namespace = json.get("namespace").and_then(Json::as_str);
    Ok(qualified(name, namespace.unwrap_or(enclosing)))
}

fn qualified(name: &str, namespace: &str) -> String {
    if name.contains('.') || namespace.is_empty() {
        name.to_owned()
    } else {
        format!("{namespace}.{name}")
    }
}

fn description(json: &Json) -> Option<String> {
    text_of(json, "description").or_else(|| text_of(json, "doc"))
}

fn text_of(json: &Json, key: &str) -> Option<String> {
    json.get(key).and_then(Json::as_str).map(str::to_owned)
}

fn malformed(record: &str, key: &str, expected: &'static str) -> SchemaError {
    SchemaError::Malformed {
        record: record.to_owned(),
        key: key.to_owned(),
        expected,
    }
}

fn excerpt(json: &Json) -> String {
    json.to_string().chars().take(80).collect()
}
