//! What is to be done with the samples of a writer: its type's plan, or the parking lane while the type is not known.
//! Chosen per writer: two writers of one topic may announce two types.

use std::sync::Arc;

use efd_edge_transcode::{
    GeneralPlan, GeneralStamps, KeyOf, LeapSeconds, Plan, Stamps, Undecodable,
};
use efd_shared_model::schema::{SCHEMA_BYTES_MAX, TOPIC_CHARS_MAX};
use efd_shared_model::{LaneKind, Schema, TopicKind, UtcNanos};
use efd_shared_types::avro::AvroSchema;
use efd_shared_types::registry::{Mapped, Registered};
use efd_shared_types::sal::SalKind;
use efd_shared_types::xtypes::Announced;
use efd_shared_types::{
    Definition, GeneralTopic, Mapping, NoGeneralMapping, NoMapping, SalTopic, Struct, TypeName,
    Types, Versions,
};

/// Plans that are kept; above it, those of writers that are gone are forgotten.
pub const PLANS_MAX: usize = 16_384;

/// Everything that follows from a type and the topic that carries it, made once and shared by writers.
#[derive(Debug)]
pub struct TopicPlan {
    /// `lsst.sal.MTMount.elevation`, `ros.chatter`
    pub topic: String,
    pub dds_topic: String,
    pub dds_type: String,
    pub kind: TopicKind,
    pub schema: Schema,
    pub reading: Reading,
}

/// How samples become datums.
#[derive(Debug)]
pub enum Reading {
    Sal(Plan),
    General(GeneralPlan),
}

impl Reading {
    /// Appends what tells instances apart; nothing for a keyless type.
    pub fn key_bytes(
        &self,
        payload: &[u8],
        holds: KeyOf,
        out: &mut Vec<u8>,
    ) -> Result<(), Undecodable> {
        match self {
            Self::Sal(plan) => plan.key_bytes(payload, holds, out),
            Self::General(plan) => plan.key_bytes(payload, holds, out),
        }
    }
}

/// A topic as a writer offers it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Offered<'a> {
    pub dds_topic: &'a str,
    pub dds_type: &'a str,
    /// The writer repeats its history to late joiners: what SAL does for events.
    pub keeps_history: bool,
}

impl Offered<'_> {
    /// Of a topic that is not SAL's.
    pub fn kind(self) -> TopicKind {
        match self.keeps_history {
            true => TopicKind::Event,
            false => TopicKind::Telemetry,
        }
    }
}

/// What a type is known from.
#[derive(Clone, Debug)]
pub enum KnownType {
    /// An IDL file.
    Registered(Arc<Registered>),
    /// What writers announce; for a SAL type with the words of the IDL file where there is one: a TypeObject has no units,
    /// no descriptions and no versions.
    Announced(Arc<Announced>, Option<Arc<Registered>>),
}

/// Why samples of a known type cannot become records.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoPlan {
    #[error("`{0}` is a struct of an old SAL generator that nobody publishes")]
    Placeholder(String),
    #[error(transparent)]
    General(#[from] NoGeneralMapping),
    #[error("its {what} has {bytes} bytes, at most {limit} are taken")]
    TooLarge {
        what: &'static str,
        bytes: usize,
        limit: usize,
    },
}

impl KnownType {
    /// Of an IDL file, and SAL's.
    pub fn is_sal(&self) -> bool {
        match self {
            Self::Registered(registered) => registered.sal().is_some(),
            Self::Announced(..) => false,
        }
    }

    pub fn plan(&self, offered: Offered<'_>) -> Result<TopicPlan, NoPlan> {
        let plan = self.unchecked_plan(offered)?;
        // What the buffer refuses would take its neighbours with it.
        for (what, bytes, limit) in [
            ("record's name", plan.topic.len(), TOPIC_CHARS_MAX),
            ("topic's name", plan.dds_topic.len(), TOPIC_CHARS_MAX),
            ("type's name", plan.dds_type.len(), TOPIC_CHARS_MAX),
            ("schema", plan.schema.text().len(), SCHEMA_BYTES_MAX),
        ] {
            if limit < bytes {
                return Err(NoPlan::TooLarge { what, bytes, limit });
            }
        }
        Ok(plan)
    }

    fn unchecked_plan(&self, offered: Offered<'_>) -> Result<TopicPlan, NoPlan> {
        match self {
            Self::Registered(registered) => match &registered.mapping {
                Ok(Mapped::Sal { topic, schema }) => Ok(TopicPlan::of_sal(topic, schema)),
                Ok(Mapped::Placeholder) => Err(NoPlan::Placeholder(offered.dds_type.to_owned())),
                Err(not_sal) => {
                    TopicPlan::of_general(&registered.types, &registered.name, offered, not_sal)
                }
            },
            Self::Announced(announced, registered) => {
                announced_plan(announced, registered.as_deref(), offered)
            }
        }
    }
}

fn announced_plan(
    announced: &Announced,
    registered: Option<&Registered>,
    offered: Offered<'_>,
) -> Result<TopicPlan, NoPlan> {
    let name = TypeName::new(offered.dds_type);
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
    let topic = match Mapping::of(&types, &Versions::default(), &name) {
        Ok(Mapping::Sal(topic)) => *topic,
        Ok(Mapping::Placeholder) => return Err(NoPlan::Placeholder(offered.dds_type.to_owned())),
        Err(not_sal) => {
            return TopicPlan::of_general(&announced.types, &announced.root, offered, &not_sal);
        }
    };
    let topic = match registered.and_then(Registered::sal) {
        Some((documented, _)) => topic.documented_by(documented),
        None => topic,
    };
    Ok(TopicPlan::of_sal(&topic, &AvroSchema::of(&topic)))
}

impl TopicPlan {
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
            reading: Reading::Sal(Plan::compile(topic)),
        }
    }

    fn of_general(
        types: &Types,
        root: &TypeName,
        offered: Offered<'_>,
        not_sal: &NoMapping,
    ) -> Result<Self, NoPlan> {
        let topic = GeneralTopic::of(types, root, offered.dds_topic)?;
        tracing::debug!(
            topic = topic.name,
            dds_topic = offered.dds_topic,
            dds_type = offered.dds_type,
            why = %not_sal,
            "Read as a topic that is not SAL's"
        );
        Ok(Self {
            dds_topic: offered.dds_topic.to_owned(),
            dds_type: offered.dds_type.to_owned(),
            kind: offered.kind(),
            schema: Schema::new(AvroSchema::of_general(&topic).json),
            reading: Reading::General(GeneralPlan::compile(&topic)),
            topic: topic.name,
        })
    }

    pub fn lane(&self) -> LaneKind {
        self.kind.lane()
    }

    /// Whether a sample can be read. `leaps`: whatever they are, nothing is kept.
    pub fn try_read(&self, payload: &[u8], leaps: &LeapSeconds) -> Result<(), Undecodable> {
        let mut out = Vec::with_capacity(2 * payload.len());
        match &self.reading {
            Reading::Sal(plan) => {
                let stamps = Stamps {
                    received_tai: 0.0,
                    encoded_tai: 0.0,
                    leaps,
                };
                plan.transcode(payload, &stamps, &mut out).map(drop)
            }
            Reading::General(plan) => {
                let stamps = GeneralStamps {
                    source: None,
                    received: 0,
                };
                plan.transcode(payload, &stamps, &mut out).map(drop)
            }
        }
    }
}

/// How a writer's samples are read.
#[derive(Clone, Debug)]
pub struct Binding {
    pub dds_topic: Arc<str>,
    pub dds_type: Arc<str>,
    /// The writer repeats its history to late joiners, us after a restart among them.
    pub keeps_history: bool,
    /// What was written before may be a repetition of what was recorded; what came later is none, however like another it is.
    pub history_until: UtcNanos,
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

    fn offered(dds_type: &str) -> Offered<'_> {
        Offered {
            dds_topic: "rt/x",
            dds_type,
            keeps_history: true,
        }
    }

    #[test]
    fn an_announced_type_gets_the_schema_of_its_idl_file() {
        let registry = registry(IDL);
        let registered = registry.get(NAME).unwrap();
        let wanted = KnownType::Registered(Arc::clone(registered))
            .plan(offered(NAME))
            .unwrap();
        assert!(wanted.schema.text().contains("\"deg\""));
        let plan = |registered: Option<&Arc<Registered>>| {
            let known = KnownType::Announced(Arc::new(announced(IDL)), registered.cloned());
            known.plan(offered(NAME)).unwrap()
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
        let known = KnownType::Announced(Arc::new(announced(IDL)), registry.get(NAME).cloned());
        let plan = known.plan(offered(NAME)).unwrap();
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

    /// By the topic and by what its writer does; a type that only looks like SAL's too.
    #[test]
    fn other_types_are_named_by_their_topic() {
        let no_stamp = IDL.replace("double private_sndStamp", "long private_sndStamp");
        for (idl, name) in [
            (
                "module std_msgs { module msg { struct String { string data; }; }; };",
                "std_msgs::msg::dds_::String_",
            ),
            (&no_stamp, NAME),
        ] {
            let registry = registry(idl);
            let known = KnownType::Registered(Arc::clone(registry.get(name).unwrap()));
            let plan = known.plan(offered(name)).unwrap();
            assert_eq!((&*plan.topic, plan.kind), ("ros.x", TopicKind::Event));
            assert_eq!((&*plan.dds_topic, &*plan.dds_type), ("rt/x", name));
            let live = Offered {
                keeps_history: false,
                ..offered(name)
            };
            assert_eq!(known.plan(live).unwrap().kind, TopicKind::Telemetry);
            let nameless = Offered {
                dds_topic: "/",
                ..offered(name)
            };
            assert!(matches!(
                known.plan(nameless),
                Err(NoPlan::General(NoGeneralMapping::NoName(_)))
            ));
        }
    }

    /// What the buffer refuses would take its neighbours with it.
    #[test]
    fn names_and_schemas_have_limits() {
        let registry = registry("struct Small { long a; };");
        let known = KnownType::Registered(Arc::clone(registry.get("Small").unwrap()));
        let long = "x".repeat(256);
        let named = Offered {
            dds_topic: &long,
            ..offered("Small")
        };
        let refused = NoPlan::TooLarge {
            what: "topic's name",
            bytes: 256,
            limit: 255,
        };
        assert_eq!(known.plan(named).unwrap_err(), refused);
        let named = Offered {
            dds_topic: &long[1..],
            ..offered("Small")
        };
        assert!(known.plan(named).unwrap().topic.len() < 255);
        let members: Vec<String> = (0..6000)
            .map(|n| format!("long m{n}_{};", "x".repeat(200)))
            .collect();
        let registry = self::registry(&format!("struct Large {{ {} }};", members.join(" ")));
        let known = KnownType::Registered(Arc::clone(registry.get("Large").unwrap()));
        let Err(NoPlan::TooLarge {
            what: "schema",
            limit,
            ..
        }) = known.plan(offered("Large"))
        else {
            panic!("a schema of more than a megabyte");
        };
        assert_eq!(limit, SCHEMA_BYTES_MAX);
    }
}
