//! Who played what: each stream of the buffer as a topic of DDS, by the IDL files that are given.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use efd_edge_transcode::{Encoder, Plan};
use efd_shared_avro::{Field, FieldType, RecordSchema};
use efd_shared_model::{Fingerprint, StreamDeclaration, TopicKind};
use efd_shared_types::sal::SalKind;
use efd_shared_types::{Registry, SalTopic};

use super::PlayError;

/// A topic that samples are published on.
#[derive(Debug)]
pub(super) struct Source {
    pub(super) number: usize,
    pub(super) topic: Arc<SalTopic>,
    pub(super) encoder: Encoder,
    /// Finds the keys of its samples.
    pub(super) plan: Plan,
}

/// Why the records of a stream are not published.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, thiserror::Error)]
pub(super) enum LeftOut {
    #[error(
        "commands and their acknowledgements are published with --commands only: whoever listens obeys"
    )]
    Command,
    #[error("its type `{0}` is in none of the IDL files")]
    NoType(String),
    #[error("its type `{dds_type}` cannot be published: {reason}")]
    NoMapping { dds_type: String, reason: String },
    #[error("its type `{dds_type}` has other fields than what was recorded: {difference}")]
    Differs {
        dds_type: String,
        difference: String,
    },
}

/// Grows as streams are met; numbers are in the order of that.
pub(super) struct Cast {
    registry: Registry,
    commands: bool,
    known: BTreeMap<(String, Fingerprint), Result<Arc<Source>, LeftOut>>,
    sources: Vec<Arc<Source>>,
}

impl Cast {
    /// `commands`: whether those are played as well.
    pub(super) fn new(registry: Registry, commands: bool) -> Self {
        Self {
            registry,
            commands,
            known: BTreeMap::new(),
            sources: Vec::new(),
        }
    }

    pub(super) fn sources(&self) -> &[Arc<Source>] {
        &self.sources
    }

    pub(super) fn resolve(
        &mut self,
        stream: &StreamDeclaration,
        schema: &RecordSchema,
    ) -> Result<Arc<Source>, LeftOut> {
        let key = (stream.dds_type.clone(), stream.schema);
        if let Some(known) = self.known.get(&key) {
            return known.clone();
        }
        let resolved = self.find(stream, schema).map(|topic| {
            let source = Arc::new(Source {
                number: self.sources.len(),
                encoder: Encoder::compile(&topic),
                plan: Plan::compile(&topic),
                topic,
            });
            self.sources.push(Arc::clone(&source));
            source
        });
        self.known.insert(key, resolved.clone());
        resolved
    }

    fn find(
        &self,
        stream: &StreamDeclaration,
        schema: &RecordSchema,
    ) -> Result<Arc<SalTopic>, LeftOut> {
        if matches!(stream.kind, TopicKind::Command | TopicKind::AckCmd) && !self.commands {
            return Err(LeftOut::Command);
        }
        let dds_type = stream.dds_type.clone();
        let registered = self.registry.get(&dds_type);
        let registered = registered.ok_or_else(|| LeftOut::NoType(dds_type.clone()))?;
        let no_mapping = |reason: String| LeftOut::NoMapping {
            dds_type: dds_type.clone(),
            reason,
        };
        let (topic, own) = match &registered.mapping {
            Ok(_) => registered
                .sal()
                .ok_or_else(|| no_mapping("a placeholder of an old generator".to_owned()))?,
            Err(error) => return Err(no_mapping(error.to_string())),
        };
        let own = RecordSchema::parse(&own.json).map_err(|error| no_mapping(error.to_string()))?;
        match difference(&own, schema) {
            None => Ok(Arc::clone(topic)),
            Some(difference) => Err(LeftOut::Differs {
                dds_type,
                difference,
            }),
        }
    }
}

/// `None` where a datum of one is a datum of the other. Units and descriptions may have changed since.
fn difference(own: &RecordSchema, stored: &RecordSchema) -> Option<String> {
    let shape = |field: &Field| {
        let (name, field_type) = (field.name.clone(), field.field_type.clone());
        (name, field_type, field.is_nullable, field.length)
    };
    let pairs = own.fields.iter().zip(&stored.fields);
    for (own, stored) in pairs {
        if shape(own) != shape(stored) {
            return Some(format!("`{}` for `{}`", text(own), text(stored)));
        }
    }
    let (count, recorded) = (own.fields.len(), stored.fields.len());
    (count != recorded).then(|| format!("{count} fields for {recorded}"))
}

fn text(field: &Field) -> String {
    let length = field
        .length
        .map_or_else(String::new, |length| length.to_string());
    match &field.field_type {
        FieldType::Scalar(scalar) => format!("{} {}", scalar.name(), field.name),
        FieldType::Array(scalar) => format!("{}[{length}] {}", scalar.name(), field.name),
        FieldType::Enum(of) => format!("{} {}", of.name, field.name),
        FieldType::Nested(of) => format!("{of} {}", field.name),
    }
}

/// Where the samples of a topic belong: `<site>.<component>.data` is where SAL publishes.
pub(super) fn partition(site: &str, topic: &SalTopic) -> String {
    let end = match topic.kind {
        SalKind::Command => "cmd",
        SalKind::Telemetry | SalKind::Event | SalKind::AckCmd => "data",
    };
    format!("{site}.{}.{end}", topic.component)
}

/// All `.idl` files among `paths` and in the folders among them.
pub(super) fn read_idl(paths: &[PathBuf]) -> Result<Registry, PlayError> {
    let mut files = Vec::new();
    for path in paths {
        let wrong = wrong(path);
        if path.is_dir() {
            for entry in fs::read_dir(path).map_err(&wrong)? {
                files.push(entry.map_err(&wrong)?.path());
            }
        } else {
            files.push(path.clone());
        }
    }
    files.retain(|path| path.extension().is_some_and(|extension| extension == "idl"));
    files.sort();
    let mut registry = Registry::default();
    for file in &files {
        let text = fs::read(file).map_err(wrong(file))?;
        registry.load(&file.display().to_string(), &text);
    }
    if files.is_empty() {
        let paths = paths.to_vec();
        return Err(PlayError::NoIdl { paths });
    }
    Ok(registry)
}

fn wrong(path: &Path) -> impl Fn(std::io::Error) -> PlayError + use<> {
    let path = path.to_owned();
    move |source| PlayError::Idl {
        path: path.clone(),
        source,
    }
}

#[cfg(test)]
mod tests {
    use efd_shared_model::{Schema, StreamNumber};
    use efd_shared_types::avro::AvroSchema;

    use super::*;

    const IDL: &str = "module Test {
    struct scalars_0123abcd { double private_sndStamp; double private_rcvStamp; long private_seqNum; float x[3]; };
    struct command_start_0123abcd { double private_sndStamp; double private_rcvStamp; long private_seqNum; };
    struct odd_0123abcd { double private_sndStamp; double private_rcvStamp; long private_seqNum; wstring w; };
    struct command { long x; };
};";

    fn cast(commands: bool) -> Cast {
        let mut registry = Registry::default();
        registry.load("test.idl", IDL.as_bytes());
        Cast::new(registry, commands)
    }

    fn declared(name: &str, kind: TopicKind, json: &str) -> (StreamDeclaration, RecordSchema) {
        let declaration = StreamDeclaration {
            number: StreamNumber(1),
            topic: format!("lsst.sal.Test.{name}"),
            dds_topic: format!("Test_{name}_0123abcd"),
            dds_type: format!("Test::{name}_0123abcd"),
            kind,
            schema: Schema::new(json).fingerprint(),
        };
        (declaration, RecordSchema::parse(json).unwrap())
    }

    fn schema(name: &str) -> String {
        let cast = cast(true);
        let registered = cast
            .registry
            .get(&format!("Test::{name}_0123abcd"))
            .unwrap();
        AvroSchema::of(registered.sal().unwrap().0).json
    }

    #[test]
    fn a_stream_has_the_type_that_it_was_recorded_by() {
        let mut cast = cast(false);
        let json = schema("scalars");
        let (stream, parsed) = declared("scalars", TopicKind::Telemetry, &json);
        let source = cast.resolve(&stream, &parsed).unwrap();
        assert_eq!(partition("test", &source.topic), "test.Test.data");
        let again = cast.resolve(&stream, &parsed).unwrap();
        assert_eq!(
            (source.number, again.number, cast.sources().len()),
            (0, 0, 1)
        );
        // Words about a field do not change its values.
        let told = json.replace(r#""name":"x","#, r#""name":"x","units":"m","#);
        assert_ne!(told, json);
        let (stream, parsed) = declared("scalars", TopicKind::Telemetry, &told);
        assert!(cast.resolve(&stream, &parsed).is_ok());
    }

    #[test]
    fn what_is_left_out_is_named() {
        let mut cast = cast(false);
        let mut check = |name: &str, kind, json: &str, expected: &str| {
            let (stream, parsed) = declared(name, kind, json);
            let error = cast.resolve(&stream, &parsed).unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
        };
        let scalars = schema("scalars");
        check(
            "gone",
            TopicKind::Event,
            &scalars,
            "`Test::gone_0123abcd` is in none",
        );
        check(
            "odd",
            TopicKind::Event,
            &scalars,
            "cannot be published: no mapping for",
        );
        check(
            "command_start",
            TopicKind::Command,
            &schema("command_start"),
            "--commands",
        );
        let long = scalars.replace("[0.0,0.0,0.0]", "[0.0,0.0]");
        check(
            "scalars",
            TopicKind::Telemetry,
            &long,
            "`double[3] x` for `double[2] x`",
        );
        let other = scalars.replace("private_seqNum", "private_number");
        check(
            "scalars",
            TopicKind::Telemetry,
            &other,
            "`long private_seqNum` for `long private_number`",
        );
        let (head, _) = scalars.split_once(r#",{"name":"x""#).unwrap();
        check(
            "scalars",
            TopicKind::Telemetry,
            &format!("{head}]}}"),
            "6 fields for 5",
        );
    }

    #[test]
    fn commands_are_played_where_they_are_asked_for() {
        let mut cast = cast(true);
        let (stream, parsed) = declared(
            "command_start",
            TopicKind::Command,
            &schema("command_start"),
        );
        let source = cast.resolve(&stream, &parsed).unwrap();
        assert_eq!(partition("test", &source.topic), "test.Test.cmd");
    }
}
