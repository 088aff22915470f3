//! The command line.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};
use efd_edge_inspect::{Filter, InspectError, Window};
#[cfg(feature = "rescue")]
use efd_shared_daemon::units::ByteRate;
use efd_shared_daemon::units::{ByteSize, Positive, Span};
use efd_shared_daemon::when::Named;
#[cfg(feature = "rescue")]
use efd_shared_model::EdgeId;
use efd_shared_model::UtcNanos;
use efd_shared_store::retention::Quotas;

/// What is in an edge's buffer: live, copied, on a disk pulled from a rack, or one segment file of it.
///
/// PATH is the buffer's folder (the one with `meta.db` and `segments`), or a segment file
/// (`segments/telemetry/0000000001.db`). Nothing is ever written to it, and an edge that uses it is not disturbed.
/// Times are UTC with a Z, spans are half-open: --from is in, --until is not.
#[derive(Debug, Parser)]
#[command(name = "efd-inspect", version, max_term_width = 110, after_help = AFTER_HELP)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,

    /// Take a full share of the processors; otherwise only what an edge and everything else here leave
    #[arg(long, global = true)]
    pub(crate) eager: bool,
}

const AFTER_HELP: &str = "\
Examples:
  efd-inspect ls /var/lib/efd-edge                     what is there, and what the centre has of it
  efd-inspect verify /mnt/buffer && echo intact        before trusting a disk
  efd-inspect cat /mnt/buffer --topic MTMount.elevation --from -2h | jq .fields.actualPosition
  efd-inspect cat /mnt/buffer --lane losses            what is missing, and why
  efd-inspect export /mnt/buffer --to night            everything as Parquet, a file for each topic
  efd-inspect repair /mnt/buffer --to mended           what is intact, as a buffer of its own

Exit codes: 0 done and intact, 1 not done, 2 done but something is damaged or cannot be seen (named on standard
error), 3 a newer version has written it.";

const TIERS_HELP: &str = "\
Of telemetry only. A window is named by its start; NaN is counted and has no part in the rest; quartiles are linear
(type 7) and kept in the finest tier; null is what is not there: of no values, of one value (stdev), or not kept.
  efd-inspect tiers /var/lib/efd-edge
  efd-inspect tiers /var/lib/efd-edge --cat 5min --topic MTMount.azimuth --from -30d | jq -c '[.time, .fields.actualPosition.mean]'";

const REPAIR_HELP: &str = "\
Every intact block has the position that it had, and so have the values that an edge keeps with its lanes; where
something is missing, positions are left out. Declarations and acknowledgements are carried over, and everything is read
back before the folder gets its `segments`. What could not be carried over is named, and listed in FOLDER/repair.jsonl
(exit code 2); the new buffer itself knows nothing of it. An edge goes on with it: stop the edge, put FOLDER in the
place of its buffer, start it.";

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Lanes, segments, spans, bytes, epochs, and who has acknowledged how many blocks.
    #[command(after_help = "\
FROM and UNTIL are the span of event time, widened to the second: give them to `cat` as they stand.
BYTES are those of the files. An open segment is still written to, or was when its edge died.
ACKNOWLEDGED is as last saved: a block more may be at the centre, never a block less.")]
    Ls {
        /// The buffer's folder, or a segment file.
        path: PathBuf,
        /// One JSON object.
        #[arg(long)]
        json: bool,
    },
    /// Streams, a topic with its schema, a block, or one record in full.
    #[command(after_help = "\
WHAT: nothing for all streams; a topic or pattern (`MTMount.elevation`, `MTMount.*`) for its fields with units and
descriptions; `edge/epoch/lane/block` for a block; `edge/epoch/lane/block/index` (the `id` of `cat`) for a record.")]
    Show {
        /// The buffer's folder, or a segment file.
        path: PathBuf,
        what: Option<String>,
        /// JSON: one object a line.
        #[arg(long)]
        json: bool,
    },
    /// Records as JSON, one object a line, lane by lane in the order they were committed.
    #[command(after_help = "\
A line: {\"topic\": …, \"time\": …, \"id\": …, \"instance\": …, \"fields\": {…}}
  time      event time, UTC, nine digits
  id        edge/epoch/lane/block/index: the name of this record everywhere, for ever
  instance  salIndex; absent where the component is not indexed
  fields    in the order of the schema. NaN and infinities are the strings \"NaN\", \"Infinity\", \"-Infinity\"; raw
            bytes are {\"bytes\": <count>}
A record whose publisher stamped nonsense has \"implausible\": true; `time` is then DDS's, or that of reception.
Losses are records of the topic efd.losses; samples that wait for their type are of efd.parked.")]
    Cat(CatArgs),
    /// Records as files: Parquet, CSV or Avro, one for each topic and schema.
    #[command(after_help = "\
Files are named by topic; where a topic has several schemas, all but the first have the schema's fingerprint in their
name. A file has its name only when it is whole and durable; until then it ends in `.partial`. FOLDER has a file
`export.partial` as long as anything is missing, also after an export that was interrupted. Beside the files themselves
its disk has to hold all records as they are until the end, in a file without a name: somewhat more than they are as Avro.
  parquet   time, the topic's fields with units and descriptions, efd_*: which record it is
  csv       time, fields and identity (in one column, efd_id) as text; arrays are JSON in one cell, bytes hexadecimal
  avro      object container files: the datums as they are, with the topic's own schema, and nothing of ours
A record that cannot be read by its schema is named on standard error and left out (exit code 2).")]
    Export {
        #[command(flatten)]
        which: Which,
        /// A folder that is not there yet, or empty; never inside the buffer.
        #[arg(long, value_name = "FOLDER")]
        to: PathBuf,
        #[arg(long, value_enum, default_value = "parquet")]
        format: FormatName,
        /// One JSON object with what was written.
        #[arg(long)]
        json: bool,
    },
    /// Records, losses with their reasons, and gaps that nobody has named: by topic, or by topic and hour.
    #[command(after_help = "\
UNNAMED are numbers between a publisher's first and last recorded ones that are neither recorded nor named as lost;
blocks that were removed or damaged leave such gaps, and are listed below the table. Hours are of event time, UTC.")]
    Account {
        #[command(flatten)]
        which: Which,
        /// A line for each topic and hour.
        #[arg(long)]
        hours: bool,
        /// One JSON object, hours included.
        #[arg(long)]
        json: bool,
    },
    /// What the edge would remove now, and why. Nothing is removed.
    #[command(after_help = "\
Age removes closed segments that are acknowledged; bytes remove the rest: what the centre has, then topics that are over
their budget, each in a lane of its own, then the oldest telemetry, then statistics, then events. LOST RECORDS are those
that only this buffer has: the edge names them before it removes them.")]
    Retention {
        /// The buffer's folder.
        path: PathBuf,
        /// `buffer.retain` of the edge.
        #[arg(long, value_name = "SPAN", default_value = "7d")]
        retain: Span,
        /// `buffer.retain_events` of the edge.
        #[arg(long, value_name = "SPAN", default_value = "31d")]
        retain_events: Span,
        /// `buffer.bytes_max` of the edge; without it bytes remove nothing.
        #[arg(long, value_name = "SIZE")]
        bytes_max: Option<ByteSize>,
        #[command(flatten)]
        quotas: QuotaArguments,
        /// What the edge would remove on a disk without space, to free so much.
        #[arg(long, value_name = "SIZE")]
        make_room: Option<ByteSize>,
        /// `buffer.untyped_bytes_max` of the edge.
        #[arg(long, value_name = "SIZE", default_value = "256MiB")]
        untyped_bytes_max: ByteSize,
        /// Who must have what age removes; by default all who have acknowledged anything.
        #[arg(long, value_name = "NAME")]
        destination: Option<String>,
        /// One JSON object.
        #[arg(long)]
        json: bool,
    },
    /// A new buffer with everything that is intact in a damaged one. PATH itself stays as it is.
    #[command(after_help = REPAIR_HELP)]
    Repair {
        /// The damaged buffer's folder, or a segment file.
        path: PathBuf,
        /// A folder that is not there yet, or empty; never inside the buffer.
        #[arg(long, value_name = "FOLDER")]
        to: PathBuf,
        /// Prints the report: one JSON object for each thing that is missing, then one with the totals.
        #[arg(long)]
        json: bool,
    },
    /// The rescue: ships what a dead edge has left to the centre, as the edge would have.
    #[cfg(feature = "rescue")]
    #[command(after_help = SEND_HELP)]
    Send(SendArgs),
    /// Publishes what is recorded onto a DDS domain, to relive an incident on a test bench.
    #[cfg(feature = "play")]
    #[command(after_help = PLAY_HELP)]
    Play(PlayArgs),
    /// What a running edge writes, live: rates by component, what the centre lacks, losses, the disk.
    #[command(after_help = WATCH_HELP)]
    Watch {
        /// The buffer's folder.
        path: PathBuf,
        /// From one look to the next.
        #[arg(long, value_name = "SPAN", default_value = "1s")]
        every: Positive<Span>,
        /// End after so many intervals; without it, when interrupted.
        #[arg(long, value_name = "N")]
        count: Option<u64>,
        /// One JSON object a line for each interval, as where standard output is not a terminal.
        #[arg(long)]
        json: bool,
    },
    /// Every checksum, number and cross-reference; progress on a terminal.
    #[command(after_help = "\
Each finding is a line as it is made: `damage` is something that cannot be given as it was stored, or may not be
all; `note` is worth knowing. Exit code 0: intact. 2: damaged; `ls` and `cat` still show everything that is whole,
copy the disk before anything else. 3: a newer version has written it; use that version's efd-inspect.")]
    Verify {
        /// The buffer's folder, or a segment file.
        path: PathBuf,
        /// Decompresses each block as well: its digest, and the stamps and length of each record. Several times the
        /// work, for what was wrong before it was stored; a sealed file is always checked so.
        #[arg(long)]
        deep: bool,
        /// One JSON object per finding, then one with the totals.
        #[arg(long)]
        json: bool,
    },
    /// Statistics of windows that an edge keeps longer than its records: how far back, and the windows as lines of JSON
    #[command(after_help = TIERS_HELP)]
    Tiers {
        /// The buffer's folder.
        path: PathBuf,
        /// The windows of this tier, a line of JSON each: 10s, 5min, as they are listed
        #[arg(long, value_name = "TIER")]
        cat: Option<String>,
        /// Topics, as `cat` takes them
        #[arg(long, value_name = "PATTERN", requires = "cat")]
        topic: Option<String>,
        /// Windows that begin from here on: 2026-11-24T06:30:00Z, or -2h for two hours ago
        #[arg(
            long,
            value_name = "TIME",
            allow_hyphen_values = true,
            requires = "cat"
        )]
        from: Option<String>,
        /// Windows that begin before this
        #[arg(
            long,
            value_name = "TIME",
            allow_hyphen_values = true,
            requires = "cat"
        )]
        until: Option<String>,
        /// The list as lines of JSON
        #[arg(long)]
        json: bool,
    },
    /// A script that makes a shell complete subcommands and options.
    #[command(after_help = COMPLETIONS_HELP)]
    Completions { shell: clap_complete::Shell },
    /// This manual: one page on standard output (`efd-inspect man | man -l -`), or a page for each subcommand.
    Man {
        /// Writes efd-inspect.1, efd-inspect-ls.1 … into this folder.
        #[arg(long, value_name = "FOLDER")]
        to: Option<PathBuf>,
    },
}

const WATCH_HELP: &str = "\
Only what is added while it runs is read, and of losses the last hour. Nothing is written.
  rate     records, and the bytes of their datums before compression, by lane and by component
           (`MTMount` of `lsst.sal.MTMount.elevation`)
  lag      blocks that are held and not acknowledged, as the edge last saved it; their bytes are
           in proportion
  losses   samples that the edge has named as absent, by reason, when it named them
  disk     the buffer's files, what is free beside them, and how long that lasts at the pace of the
           last minute; before it is full, retention removes what is oldest
A line of JSON has the counts of its interval, not rates: divide by `seconds`.";

const COMPLETIONS_HELP: &str = "\
  bash   efd-inspect completions bash > /usr/share/bash-completion/completions/efd-inspect
  zsh    efd-inspect completions zsh > /usr/share/zsh/vendor-completions/_efd-inspect
  fish   efd-inspect completions fish > /usr/share/fish/vendor_completions.d/efd-inspect.fish
For yourself alone: ~/.local/share/bash-completion/completions/efd-inspect, ~/.config/fish/completions/efd-inspect.fish";

#[derive(Clone, Copy, Debug, clap::ValueEnum)]
pub(crate) enum FormatName {
    Parquet,
    Csv,
    Avro,
}

#[derive(Debug, Args)]
pub(crate) struct CatArgs {
    #[command(flatten)]
    pub(crate) which: Which,
    /// Only these fields; a topic that has none of them is passed over.
    #[arg(long, value_name = "NAME,…", value_delimiter = ',')]
    pub(crate) fields: Vec<String>,
    /// The datum as it is instead of its fields: "schema" is the fingerprint of its Avro schema (`show TOPIC --json` has
    /// the text), "datum" its bytes, hexadecimal.
    #[arg(long, conflicts_with = "fields")]
    pub(crate) raw: bool,
    /// Go on with what is committed to a live buffer, until interrupted (or --limit is reached).
    #[arg(long, conflicts_with = "until")]
    pub(crate) follow: bool,
    /// The default and only form: one JSON object a line.
    #[arg(long)]
    pub(crate) json: bool,
}

/// Which records.
#[derive(Debug, Args)]
pub(crate) struct Which {
    /// The buffer's folder, or a segment file.
    path: PathBuf,
    /// Topics: `MTMount.elevation`, `MTMount.*`, `*.logevent_*`, `efd.losses`; `lsst.sal.` may be left out.
    #[arg(long, value_name = "PATTERN")]
    topic: Option<String>,
    /// One lane: events, telemetry, losses, parked, telemetry.2 …
    #[arg(long)]
    lane: Option<String>,
    /// Event time from here on: 2026-11-24T06:30:00Z, or -2h for two hours ago.
    #[arg(long, value_name = "TIME", allow_hyphen_values = true)]
    from: Option<String>,
    /// Event time before this.
    #[arg(long, value_name = "TIME", allow_hyphen_values = true)]
    until: Option<String>,
    /// Only this instance (salIndex).
    #[arg(long, value_name = "N", allow_hyphen_values = true)]
    instance: Option<i32>,
    /// Stop after this many records.
    #[arg(long, value_name = "N")]
    limit: Option<u64>,
}

impl Which {
    /// What to open, and what to take of it.
    pub(crate) fn filter(self, now: UtcNanos) -> Result<(PathBuf, Filter), InspectError> {
        let Self {
            path,
            topic,
            lane,
            from,
            until,
            instance,
            limit,
        } = self;
        let window = Window::parse(Named::OPTIONS, from.as_deref(), until.as_deref(), now)?;
        let filter = Filter {
            topic,
            lane,
            window,
            instance,
            limit,
        };
        Ok((path, filter))
    }
}

#[cfg(feature = "rescue")]
const SEND_HELP: &str = "\
The centre says what it has; only the rest goes. Break it off and run it again: it goes on where it was. When the edge
itself comes back and sends the same, nothing is stored twice.

With a network:     efd-inspect send /mnt/buffer --centre efd.example.org:4433 --certificates rescue
Without one:        efd-inspect send /mnt/buffer --seal night.efdparcel
   elsewhere:       efd-inspect send night.efdparcel --centre efd.example.org:4433 --certificates rescue --receipt night.json
   the next time:   efd-inspect send /mnt/buffer --without night.json --seal more.efdparcel

The certificate is made at the centre, for one edge: efd-central ca issue-rescue --site SITE --edge EDGE
Exit codes: 0 the centre has (or the file holds) everything, 1 it has not, 2 it has all but what is damaged, which is named.";

#[cfg(feature = "rescue")]
#[derive(Debug, Args)]
pub(crate) struct SendArgs {
    /// The buffer's folder, a segment file, or a sealed file.
    pub(crate) path: PathBuf,
    /// The centre's `host:port` (UDP).
    #[arg(
        long,
        value_name = "HOST:PORT",
        required_unless_present = "seal",
        conflicts_with = "seal",
        requires = "certificates"
    )]
    pub(crate) centre: Option<String>,
    /// Folder with `ca.crt`, `rescue-<site>-<edge>.crt` and its key.
    #[arg(long, value_name = "FOLDER")]
    pub(crate) certificates: Option<PathBuf>,
    /// Puts the blocks into this file instead.
    #[arg(long, value_name = "FILE")]
    pub(crate) seal: Option<PathBuf>,
    /// Blocks with anything from here on (event time).
    #[arg(long, value_name = "TIME", allow_hyphen_values = true)]
    pub(crate) from: Option<String>,
    /// Blocks with anything before this.
    #[arg(long, value_name = "TIME", allow_hyphen_values = true)]
    pub(crate) until: Option<String>,
    /// Only this lane.
    #[arg(long)]
    pub(crate) lane: Option<String>,
    /// Which edge, where several wrote here; with --centre the certificate says it.
    #[arg(long, conflicts_with = "centre")]
    pub(crate) edge: Option<EdgeId>,
    /// Without what this receipt says is at the centre.
    #[arg(long, value_name = "RECEIPT")]
    pub(crate) without: Option<PathBuf>,
    /// Writes what the centre has to this file.
    #[arg(long, value_name = "FILE", requires = "centre")]
    pub(crate) receipt: Option<PathBuf>,
    /// At most so much of the link, `20Mbit/s`.
    #[arg(long, value_name = "RATE", requires = "centre")]
    pub(crate) rate: Option<ByteRate>,
    /// Gives up when the centre has acknowledged nothing for so long.
    #[arg(long, value_name = "SPAN", default_value = "5m")]
    pub(crate) patience: Span,
    /// One JSON object.
    #[arg(long)]
    pub(crate) json: bool,
}

#[cfg(feature = "play")]
const PLAY_HELP: &str = "\
Samples are published in the order and with the spacing of their event times, with SAL's QoS and
keys. Every field is as it was recorded, but for private_rcvStamp, which is 0 until somebody receives
it. Types come from the IDL files: a type that is not there, or whose fields are not those recorded,
is named and its records are left out (exit code 2).

  efd-inspect play /mnt/buffer --domain 42 --idl sal/idl --from 2026-11-24T06:30:00Z
  efd-inspect play /mnt/buffer --domain 42 --idl sal/idl --topic 'MTMount.*' --speed 10

It must not meet a telescope: domain 0 is refused, and so is a topic that somebody else publishes in
the same partition. Partitions are replay.<component>.data: readers on the bench ask for `replay`, or
--partition says what they ask for. Commands are left out unless --commands, as whoever listens
obeys. Readers that are slow hold the replay up; nothing is lost for them.";

#[cfg(feature = "play")]
#[derive(Debug, Args)]
pub(crate) struct PlayArgs {
    #[command(flatten)]
    pub(crate) which: Which,
    /// DDS domain of the bench, 1 to 230.
    #[arg(long, value_name = "N")]
    pub(crate) domain: u32,
    /// Network interface by name; without it DDS chooses.
    #[arg(long, value_name = "NAME")]
    pub(crate) interface: Option<String>,
    /// Where readers are, beside multicast; may be repeated.
    #[arg(long = "peer", value_name = "ADDRESS")]
    pub(crate) peers: Vec<String>,
    /// Find readers at --peer only.
    #[arg(long)]
    pub(crate) no_multicast: bool,
    /// IDL files, or folders of them; may be repeated.
    #[arg(long, value_name = "PATH", required = true)]
    pub(crate) idl: Vec<PathBuf>,
    /// Times as fast as it was, or max: as fast as readers take it.
    #[arg(long, value_name = "SPEED", default_value = "1")]
    pub(crate) speed: efd_edge_inspect::play::Speed,
    /// Begin of the partitions, where SAL has the name of the site.
    #[arg(long, value_name = "NAME", default_value = "replay")]
    pub(crate) partition: String,
    /// Publish commands and acknowledgements of commands as well.
    #[arg(long)]
    pub(crate) commands: bool,
    /// As if it were sent now: private_sndStamp and DDS's source timestamp are those of the replay.
    #[arg(long)]
    pub(crate) restamp: bool,
    /// Wait so long for readers, at most; with 0s nobody has to be there.
    #[arg(long, value_name = "SPAN", default_value = "10s")]
    pub(crate) wait: Span,
    /// Stay so long after the last sample, for readers that lack some.
    #[arg(long, value_name = "SPAN", default_value = "3s")]
    pub(crate) linger: Span,
    /// Play onto a bus that looks like one in operation all the same.
    #[arg(long)]
    pub(crate) yes_this_domain: bool,
    /// One JSON object with what was published.
    #[arg(long)]
    pub(crate) json: bool,
}

/// `buffer.quotas` of the edge.
#[derive(Debug, Args)]
pub(crate) struct QuotaArguments {
    /// `buffer.quotas.events` of the edge.
    #[arg(long, value_name = "SIZE")]
    pub events_max: Option<ByteSize>,
    /// `buffer.quotas.telemetry` of the edge.
    #[arg(long, value_name = "SIZE")]
    pub telemetry_max: Option<ByteSize>,
    /// `buffer.quotas.reduced` of the edge.
    #[arg(long, value_name = "SIZE")]
    pub reduced_max: Option<ByteSize>,
    /// `buffer.quotas.flood` of the edge; by default a quarter of `--bytes-max`.
    #[arg(long, value_name = "SIZE")]
    pub flood_max: Option<ByteSize>,
}

impl QuotaArguments {
    pub(crate) fn of(&self, bytes_max: Option<ByteSize>) -> Quotas {
        let bytes = |size: Option<ByteSize>| size.map_or(u64::MAX, |size| size.bytes());
        let defaults = Quotas::of_buffer(bytes(bytes_max));
        Quotas {
            events: bytes(self.events_max),
            telemetry: bytes(self.telemetry_max),
            reduced: bytes(self.reduced_max),
            flood: self.flood_max.map_or(defaults.flood, |size| size.bytes()),
        }
    }
}
