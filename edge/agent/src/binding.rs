//! What is to be done with the samples of a writer: its type's plan, or the parking lane while the type is not known.
//! Chosen per writer: two writers of one topic may announce two types.

use std::sync::Arc;

use efd_edge_transcode::Plan;
use efd_shared_model::{LaneKind, Schema, TopicKind};
use efd_shared_types::avro::AvroSchema;
use efd_shared_types::registry::Registered;
use efd_shared_types::sal::SalKind;
use efd_shared_types::xtypes::Announced;
use efd_shared_types::{Definition, Mapping, NoMapping, SalTopic, Struct, TypeName, Versions};

/// Everything that follows from a type, made once and shared by its writers.
#[derive(Debug)]
pub struct TopicPlan {
    /// `lsst.sal.MTMount.elevation`
    pub topic: String,
    pub dds_topic: String,
    pub dds_type: String,
    pub kind: TopicKind,
    pub schema: Schema,
    pub plan: Plan,
}

impl TopicPlan {
    /// `None` for a struct that nobody publishes, or that has no mapping yet.
    pub fn of(registered: &Registered) -> Option<Self> {
        let (topic, schema) = registered.sal()?;
        Some(Self::of_sal(topic, schema))
    }

    /// Of a type that its writer announces; units, descriptions and versions are those of the IDL files.
    pub fn announced(
        dds_type: &str,
        announced: &Announced,
        registered: Option<&Registered>,
    ) -> Result<Option<Self>, NoMapping> {
        let name = TypeName::new(dds_type);
        let mut types = announced.types.clone();
        // A TypeObject may call the type otherwise than discovery does.
        if let Some(Definition::Struct(root)) = types.definition(announced.root.as_str()) {
            let name = name.clone();
            let root = Struct {
                name,
                ..root.clone()
            };
            types.insert(Definition::Struct(root));
        }
        let topic = match Mapping::of(&types, &Versions::default(), &name)? {
            Mapping::Placeholder => return Ok(None),
            Mapping::Sal(topic) => *topic,
        };
        let topic = match registered.and_then(Registered::sal) {
            Some((documented, _)) => topic.documented_by(documented),
            None => topic,
        };
        let schema = AvroSchema::of(&topic);
        Ok(Some(Self::of_sal(&topic, &schema)))
    }

    fn of_sal(topic: &SalTopic, schema: &AvroSchema) -> Self {
        Self {
            topic: topic.avro_name(),
            dds_topic: topic.dds_topic.clone(),
            dds_type: topic.dds_type.as_str().to_owned(),
            kind: match topic.kind {
                SalKind::Telemetry => TopicKind::Telemetry,
                SalKind::Event => TopicKind::Event,
                SalKind::Command => TopicKind::Command,
                SalKind::AckCmd => TopicKind::AckCmd,
            },
            schema: Schema::new(schema.json.clone()),
            plan: Plan::compile(topic),
        }
    }

    pub fn lane(&self) -> LaneKind {
        self.kind.lane()
    }
}

/// How a writer's samples are read.
#[derive(Clone, Debug)]
pub struct Binding {
    pub dds_topic: Arc<str>,
    pub dds_type: Arc<str>,
    /// The writer repeats its history to late joiners, us after a restart among them.
    pub keeps_history: bool,
    /// `None`: the type is not known yet.
    pub plan: Option<Arc<TopicPlan>>,
}

#[cfg(test)]
mod tests {
    use efd_shared_types::registry::Registry;
    use efd_shared_types::xtypes::TypeId;
    use efd_shared_types::{Types, idl};

    use super::*;

    const NAME: &str = "Test::logevent_x_0a1b2c3d";
    const IDL: &str = "module Test {\n struct logevent_x_0a1b2c3d { // @Metadata=(Description=\"An event.\")\n \
        string<8> private_revCode;\n double private_sndStamp; // @Metadata=(Units=\"second\",Description=\"Time.\")\n \
        double private_rcvStamp;\n long private_seqNum;\n double angle; // @Metadata=(Units=\"deg\",Description=\"An angle.\")\n \
        };\n#pragma keylist logevent_x_0a1b2c3d\n};\n";

    fn registry(idl: &str) -> Registry {
        let mut registry = Registry::default();
        registry.load("sal_revCoded_Test.idl", idl.as_bytes());
        registry
    }

    /// As a writer would: without what IDL says in comments, and by a name of its own.
    fn announced(idl: &str) -> Announced {
        let bare: Vec<&str> = idl
            .lines()
            .map(|line| line.split("//").next().unwrap())
            .collect();
        let mut types: Types = idl::parse(&bare.join("\n")).types();
        let Some(Definition::Struct(root)) = types.definition(NAME).cloned() else {
            panic!("no struct");
        };
        let name = TypeName::new("Test::logevent_x");
        types.insert(Definition::Struct(Struct {
            name: name.clone(),
            ..root
        }));
        Announced {
            root: name,
            types,
            id: TypeId {
                hash: [1; 14],
                component: None,
            },
        }
    }

    #[test]
    fn an_announced_type_gets_the_schema_of_its_idl_file() {
        let registry = registry(IDL);
        let registered = registry.get(NAME).unwrap();
        let wanted = TopicPlan::of(registered).unwrap();
        assert!(wanted.schema.text().contains("\"deg\""));
        let plan = |registered| {
            TopicPlan::announced(NAME, &announced(IDL), registered)
                .unwrap()
                .unwrap()
        };
        let with = plan(Some(registered));
        assert_eq!(with.schema.text(), wanted.schema.text());
        assert_eq!(with.topic, wanted.topic);
        let without = plan(None);
        assert!(!without.schema.text().contains("\"deg\""));
        assert_eq!(without.topic, wanted.topic);
    }

    /// The announced type is what is on the wire; of the file it gets the words only.
    #[test]
    fn a_type_that_differs_from_its_file_keeps_its_fields() {
        let changed = IDL.replace("double angle", "long angle");
        let registry = registry(&changed);
        let plan =
            TopicPlan::announced(NAME, &announced(IDL), registry.get(NAME).map(AsRef::as_ref));
        let plan = plan.unwrap().unwrap();
        let schema: serde_json::Value = serde_json::from_str(plan.schema.text()).unwrap();
        let fields = schema["fields"].as_array().unwrap();
        let angle = fields
            .iter()
            .find(|field| field["name"] == "angle")
            .unwrap();
        assert_eq!(
            (&angle["type"], &angle["units"]),
            (&"double".into(), &"deg".into())
        );
    }
}
