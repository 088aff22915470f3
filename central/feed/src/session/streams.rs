//! Opens what the records of a block need before the first of them is sent: schema, route, topic.

use std::collections::BTreeSet;
use std::sync::Arc;

use efd_central_log::{BlockLog, LogError, Stream};
use efd_shared_model::{Block, StreamNumber, component_of};

use crate::broker::{Broker, BrokerError, Ensured, Span};
use crate::registry::{Registry, RegistryError};
use crate::route::{Route, RouteKey, subject};
use crate::status::State;

use super::{Destination, Hands, Session, SessionError};

impl<L: BlockLog + ?Sized, B: Broker> Session<L, B> {
    /// Sees to it that every stream of `block` has its output. All streams of its epoch are opened with it, so that
    /// thousands of new topics cost a few calls. The inner error is what the block must wait for.
    pub(super) fn open_streams(
        &mut self,
        block: &Block,
        hands: &mut Hands<'_>,
    ) -> Result<Result<(), State>, SessionError> {
        let epoch = block.header().id.lane.epoch;
        let is_open = |number| self.streams.contains_key(&(epoch, number));
        if block.sections().all(|section| is_open(section.stream())) {
            return Ok(Ok(()));
        }
        let mut opened = Vec::new();
        for number in (1..=self.log.streams_through(epoch)?.0).map(StreamNumber) {
            if self.streams.contains_key(&(epoch, number)) {
                continue;
            }
            let stream = self
                .log
                .stream(epoch, number)?
                .ok_or_else(|| LogError::Undeclared {
                    epoch,
                    missing: vec![number.0],
                })?;
            if !self
                .settings
                .shard
                .has(component_of(&stream.declaration.topic))
            {
                self.streams.insert((epoch, number), Destination::Elsewhere);
                continue;
            }
            let key = self.key(&stream);
            if !self.routes.contains_key(&key) {
                match decide(&key, &stream, hands.registry) {
                    Ok(route) => {
                        self.registry_refusals += u64::from(route.refused);
                        self.is_dirty = true;
                        self.routes.insert(key.clone(), route);
                    }
                    Err(reason) => return Ok(Err(State::WaitingForRegistry(reason))),
                }
            }
            opened.push((number, Arc::new(key)));
        }
        if let Err(state) = self.open_outputs(&opened)? {
            return Ok(Err(state));
        }
        // Durable before the first record: where they go must not be decided twice.
        if let Err(state) = self.save(hands.store) {
            return Ok(Err(state));
        }
        for (number, key) in opened {
            let Some(route) = self.routes.get(&*key) else {
                continue;
            };
            let output = self.account.open(&route.topic, None);
            if route.schema.is_none() {
                let reason = "the registry refuses the schema under every name".to_owned();
                self.account.output_mut(output).park(reason);
            }
            self.streams
                .insert((epoch, number), Destination::Output(output, key));
        }
        Ok(Ok(()))
    }

    pub(super) fn key(&self, stream: &Stream) -> RouteKey {
        RouteKey {
            name: self
                .settings
                .topic_format
                .name(&stream.site, &stream.declaration.topic),
            fingerprint: stream.schema.fingerprint(),
        }
    }

    /// Makes the topics that are missing, and reads back those that were there before we knew of them.
    fn open_outputs(
        &mut self,
        opened: &[(StreamNumber, Arc<RouteKey>)],
    ) -> Result<Result<(), State>, SessionError> {
        let routes = opened.iter().filter_map(|(_, key)| self.routes.get(&**key));
        let topics = routes.map(|route| route.topic.as_str());
        let topics: BTreeSet<&str> = topics
            .filter(|topic| self.account.lookup(topic).is_none())
            .collect();
        let topics: Vec<String> = topics.into_iter().map(str::to_owned).collect();
        let names: Vec<&str> = topics.iter().map(String::as_str).collect();
        let ensured = match self.broker.ensure(&names) {
            Ok(ensured) => ensured,
            Err(BrokerError::Unavailable(reason)) => {
                return Ok(Err(State::WaitingForBroker(reason)));
            }
            Err(fatal @ BrokerError::Fatal(_)) => return Err(fatal.into()),
        };
        let (mut spans, mut of_span) = (Vec::new(), Vec::new());
        for (topic, ensured) in topics.into_iter().zip(ensured) {
            let output = self.account.open(&topic, None);
            self.is_dirty = true;
            match ensured {
                Ensured::Created => {}
                Ensured::Refused(reason) => self.account.output_mut(output).park(reason),
                Ensured::Existed => {
                    spans.push(Span { topic, from: None });
                    of_span.push(output);
                }
            }
        }
        let settled = self.account.settle(self.follower.progress());
        let (account, no_dedup) = (&mut self.account, self.settings.no_dedup);
        // Half a reading is of no use to the account: any error ends the session.
        let ends = self.broker.read_back(&spans, &mut |met| {
            if let (Some(id), false) = (met.id, no_dedup) {
                account.note_found(of_span[met.span], id, met.offset, &settled);
            }
        })?;
        for (&output, end) in of_span.iter().zip(ends) {
            self.account.handle_read_back(output, end);
        }
        Ok(Ok(()))
    }
}

/// Asks the registry, under the plain name first, then under one of the schema's own.
fn decide(key: &RouteKey, stream: &Stream, registry: &mut dyn Registry) -> Result<Route, String> {
    let mut register = |topic: &str| match registry.register(&subject(topic), &stream.schema) {
        Ok(id) => Ok(Some(id)),
        Err(error @ RegistryError::Refused { .. }) => {
            tracing::error!(topic, schema = %stream.schema.fingerprint(), %error, "Registry refuses a schema");
            Ok(None)
        }
        Err(RegistryError::Unavailable(reason)) => Err(reason),
    };
    let plain = key.plain_topic();
    if let Some(id) = register(&plain)? {
        return Ok(Route {
            topic: plain,
            schema: Some(id),
            refused: false,
        });
    }
    let own = key.own_topic();
    let schema = register(&own)?;
    Ok(Route {
        topic: own,
        schema,
        refused: true,
    })
}
