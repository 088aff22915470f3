//! What a session speaks of: who the edge is, its epochs, its streams.

use std::collections::{BTreeMap, BTreeSet};

use efd_shared_model::{EpochDeclaration, RangeSet, StreamNumber};

use super::{CentreSession, Certificate, Command, EpochIn, Known, State, Streaming, check_count};
use crate::clone::siblings;
use crate::codec::WireVersion;
use crate::frame::{CentreFrame, Declare, Hello, HelloLane, Welcome};
use crate::limits::{EPOCHS_MAX, SCHEMAS_MAX, STREAMS_MAX, WELCOME_RANGES_MAX};
use crate::moment::Moment;
use crate::violation::Violation;

impl CentreSession {
    pub(super) fn on_hello(&mut self, hello: Hello) -> Result<(), Violation> {
        let Certificate { site, edge } = &self.certificate;
        if hello.edge != *edge || hello.site != *site {
            return Err(Violation::Identity {
                claimed_edge: hello.edge,
                claimed_site: hello.site,
                edge: *edge,
                site: site.clone(),
            });
        }
        WireVersion::common(hello.versions)?;
        let announced: BTreeSet<_> = hello.epochs.iter().map(|epoch| epoch.epoch).collect();
        for declaration in &hello.epochs {
            self.check_owner(declaration)?;
        }
        let stray = hello.lanes.iter().map(|lane| lane.key.epoch);
        if let Some(epoch) = stray.into_iter().find(|epoch| !announced.contains(epoch)) {
            return Err(Violation::UnknownEpoch { epoch });
        }
        let lanes = hello.lanes.iter().map(|lane| lane.key.at(*edge));
        self.outbox.push_back(Command::Lookup {
            epochs: announced.into_iter().collect(),
            lanes: lanes.collect(),
        });
        self.state = State::Looking { hello };
        Ok(())
    }

    fn check_owner(&self, declaration: &EpochDeclaration) -> Result<(), Violation> {
        let Certificate { site, edge } = &self.certificate;
        if declaration.edge == *edge && declaration.site == *site {
            return Ok(());
        }
        Err(Violation::ForeignEpoch {
            epoch: declaration.epoch,
            claimed_edge: declaration.edge,
            claimed_site: declaration.site.clone(),
            edge: *edge,
            site: site.clone(),
        })
    }

    pub(super) fn on_known(
        &mut self,
        hello: Hello,
        known: Known,
        now: Moment,
    ) -> Result<(), Violation> {
        let Known {
            mut received,
            streams,
            epochs: elder_epochs,
        } = known;
        let version = WireVersion::common(hello.versions)?;
        self.state = State::Streaming(Streaming {
            version,
            heard_at: now,
            heartbeat_at: now + self.config.heartbeat_every,
            epochs: BTreeMap::new(),
            elder_epochs,
            lanes: BTreeMap::new(),
            schemas: BTreeSet::new(),
            acks_due: BTreeSet::new(),
            ack_blocks: 0,
            ack_at: None,
            received_bytes: 0,
            done_bytes: 0,
            granted_bytes: 0,
        });
        let mut welcome = Welcome {
            version: version.number(),
            received: Vec::new(),
            streams: Vec::new(),
            window_bytes: self.config.window_bytes,
            credit_bytes: self.config.window_bytes.min(self.log_room_bytes),
        };
        for declaration in hello.epochs {
            let id = declaration.epoch;
            let through = streams.get(&id).copied().unwrap_or(StreamNumber(0));
            self.on_epoch(declaration, through)?;
            welcome.streams.push((id, through));
        }
        let State::Streaming(streaming) = &mut self.state else {
            return Ok(());
        };
        streaming.granted_bytes = welcome.credit_bytes;
        let mut ranges_left = WELCOME_RANGES_MAX;
        for HelloLane { key, .. } in hello.lanes {
            let Some(received) = received.remove(&key) else {
                continue;
            };
            let told: RangeSet = received.iter().take(ranges_left).collect();
            ranges_left -= told.range_count();
            welcome.received.push((key, told));
            streaming.lanes.entry(key).or_default().received = received;
        }
        self.send(CentreFrame::Welcome(welcome));
        Ok(())
    }

    /// `through`: streams of it that are durable.
    pub(super) fn on_epoch(
        &mut self,
        declaration: EpochDeclaration,
        through: StreamNumber,
    ) -> Result<(), Violation> {
        self.check_owner(&declaration)?;
        let State::Streaming(streaming) = &mut self.state else {
            return Ok(());
        };
        let id = declaration.epoch;
        if let Some(known) = streaming.epochs.get(&id) {
            return if known.declaration == declaration {
                Ok(())
            } else {
                Err(Violation::EpochChanged { epoch: id })
            };
        }
        let count = streaming.epochs.len() + 1;
        check_count("epochs", count, EPOCHS_MAX)?;
        let here = streaming.epochs.values().map(|epoch| &epoch.declaration);
        let known = here.chain(&streaming.elder_epochs);
        let mut children = siblings(&declaration, known);
        if let Some(parent) = &declaration.parent
            && !children.is_empty()
        {
            children.push(id);
            children.sort();
            let parent = parent.epoch;
            self.outbox.push_back(Command::Clone { parent, children });
        }
        let epoch = EpochIn {
            declaration,
            declared: through,
            handed_on: through,
        };
        streaming.epochs.insert(id, epoch);
        Ok(())
    }

    pub(super) fn on_declare(&mut self, declare: Declare) -> Result<(), Violation> {
        let State::Streaming(streaming) = &mut self.state else {
            return Ok(());
        };
        let Declare {
            epoch: id,
            streams,
            schemas,
        } = declare;
        let epoch = streaming.epochs.get_mut(&id);
        let epoch = epoch.ok_or(Violation::UnknownEpoch { epoch: id })?;
        let known = &mut streaming.schemas;
        known.extend(schemas.iter().map(|schema| schema.fingerprint()));
        check_count("schemas", known.len(), SCHEMAS_MAX)?;

        // The first may be declared already: an edge that was told less than the centre has begins earlier.
        let due = epoch.handed_on.next();
        let mut expected = streams.first().map_or(due, |stream| stream.number.min(due));
        for stream in &streams {
            if stream.number != expected {
                return Err(Violation::StreamGap {
                    epoch: id,
                    expected,
                    found: stream.number,
                });
            }
            if !known.contains(&stream.schema) {
                return Err(Violation::SchemaMissing {
                    epoch: id,
                    stream: stream.number,
                    fingerprint: stream.schema,
                });
            }
            check_count("streams", stream.number.0 as usize, STREAMS_MAX as usize)?;
            epoch.handed_on = epoch.handed_on.max(expected);
            expected = expected.next();
        }
        let epoch = epoch.declaration.clone();
        self.outbox.push_back(Command::Declare {
            epoch,
            streams,
            schemas,
        });
        Ok(())
    }
}
