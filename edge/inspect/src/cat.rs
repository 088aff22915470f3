//! `cat`: records as JSON lines, lane by lane, in the order they were committed.

mod follow;
mod line;

use std::collections::{BTreeSet, HashMap};
use std::io::Write;
use std::path::Path;

use efd_shared_avro::RecordSchema;
use efd_shared_model::{RecordId, RecordRef};
use efd_shared_store::ReadOnlyStore;

use crate::open::open;
use crate::outcome::{Exit, InspectError};
use crate::pace::Pace;
use crate::pattern::{Pattern, nearest};
use crate::screen::Screen;
use crate::walk::{Filter, Stream, Taker, Walk};
use follow::Following;
pub(crate) use line::{IdText, put_double, put_number};
use line::{Layout, raw_line};

/// What a line tells of a record's datum.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Form {
    /// `"fields"`: all, in the order of the schema.
    #[default]
    All,
    /// `"fields"`: these. A topic that has none of them is passed over.
    Only(BTreeSet<String>),
    /// `"schema"`, the fingerprint of the Avro schema, and `"datum"`, its bytes as they are, hexadecimal.
    Raw,
}

/// One JSON object a line: `{"topic", "time", "id", "instance"?, "implausible"?, "fields": {…}}`.
///
/// `time` is the record's event time, UTC with nine digits. NaN and infinities are the strings `"NaN"`, `"Infinity"`
/// and `"-Infinity"`; a field of raw bytes is `{"bytes": <count>}`. A record that cannot be read by its schema has
/// `"error"` for `"fields"`.
///
/// With `follow` it goes on with what is committed to a live buffer, each record once, until the limit is reached or
/// nobody reads the output any more.
pub fn cat(
    path: &Path,
    filter: &Filter,
    form: &Form,
    follow: Option<&dyn Pace>,
    screen: &mut Screen<impl Write, impl Write>,
) -> Result<Exit, InspectError> {
    let mut store = open(path, screen)?;
    if let Form::Only(names) = form {
        check_fields(names, filter, &store)?;
    }
    let mut walk = Walk::new(&store, filter)?;
    let mut lines = Lines {
        form,
        layouts: HashMap::new(),
        ids: IdText::default(),
        text: Vec::new(),
    };
    let mut following = follow.map(|pace| (pace, Following::new(path, &store)));
    walk.run(&store, &mut lines, screen)?;
    while let Some((pace, following)) = &mut following
        && !walk.is_done()
    {
        pace.sleep(Following::EVERY);
        if following.look(&mut store, screen)? {
            walk.run(&store, &mut lines, screen)?;
        }
    }
    Ok(screen.end()?)
}

/// A name that no chosen topic has is a slip of the fingers. Where the buffer is damaged, its topic may be what is lost.
fn check_fields(
    names: &BTreeSet<String>,
    filter: &Filter,
    store: &ReadOnlyStore,
) -> Result<(), InspectError> {
    const SIMILAR_MAX: usize = 5;
    if !store.notices().is_empty() {
        return Ok(());
    }
    let pattern = filter.topic.as_deref().map(Pattern::new);
    let mut reader = store.reader();
    let (mut known, mut asked) = (BTreeSet::new(), BTreeSet::new());
    for epoch in reader.epochs()? {
        for stream in reader.streams(epoch.epoch)? {
            let is_chosen = pattern.as_ref().is_none_or(|it| it.matches(&stream.topic));
            if !is_chosen || !asked.insert(stream.schema) {
                continue;
            }
            let schema = reader.schema(&stream.schema)?;
            let parsed = schema.and_then(|schema| RecordSchema::parse(schema.text()).ok());
            let fields = parsed.into_iter().flat_map(|schema| schema.fields);
            known.extend(fields.map(|field| field.name));
        }
    }
    match names.iter().find(|name| !known.contains(*name)) {
        None => Ok(()),
        Some(name) => Err(InspectError::NoField {
            name: name.clone(),
            of: known.len(),
            similar: nearest(name, known.iter().map(String::as_str), SIMILAR_MAX),
        }),
    }
}

/// Writes each record as a line.
struct Lines<'a> {
    form: &'a Form,
    /// By the number of the stream.
    layouts: HashMap<usize, Layout>,
    ids: IdText,
    /// Of one block.
    text: Vec<u8>,
}

impl Lines<'_> {
    fn layout(&mut self, stream: &Stream) -> &Layout {
        let only = match self.form {
            Form::Only(names) => Some(names),
            Form::All | Form::Raw => None,
        };
        self.layouts
            .entry(stream.number)
            .or_insert_with(|| Layout::new(&stream.topic, stream.decoder.clone(), only))
    }
}

impl<O: Write> Taker<O> for Lines<'_> {
    fn wants(&mut self, stream: &Stream) -> bool {
        !matches!(self.form, Form::Only(_)) || self.layout(stream).has_fields()
    }

    fn record(
        &mut self,
        stream: &Stream,
        id: RecordId,
        record: &RecordRef<'_>,
    ) -> Result<Result<(), String>, InspectError> {
        if *self.form == Form::Raw {
            let schema = stream.schema.fingerprint();
            let id = self.ids.of(id);
            raw_line(&stream.topic, id, record, &schema, &mut self.text);
            return Ok(Ok(()));
        }
        let mut text = std::mem::take(&mut self.text);
        let mut ids = std::mem::take(&mut self.ids);
        let layout = self.layout(stream);
        let written = layout.write_line(ids.of(id), record, &mut text);
        (self.text, self.ids) = (text, ids);
        Ok(written.map_err(|error| error.to_string()))
    }

    fn block_done(&mut self, out: &mut O) -> Result<(), InspectError> {
        out.write_all(&self.text)?;
        self.text.clear();
        Ok(())
    }
}
