//! What edges say they have committed, against what came: a difference that no loss names is silent, and the edge is asked
//! for it.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use efd_central_log::LogError;
use efd_shared_model::digest::Tally;
use efd_shared_model::{Committed, EdgeId, EpochLane, RangeSet};
use rusqlite::{Transaction, params};

use crate::{Book, Ledger, LedgerError};

/// How statements stand, as the book keeps it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Standing {
    /// Some of its blocks have not come, and no loss names them.
    Open,
    Equal,
    /// All blocks came, with other records than the edge says.
    Differs,
    /// Blocks of it were lost by name, or the log does not hold them any more: nobody can tell.
    Unknown,
}

impl Standing {
    pub const ALL: [Self; 4] = [Self::Open, Self::Equal, Self::Differs, Self::Unknown];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Equal => "equal",
            Self::Differs => "differs",
            Self::Unknown => "unknown",
        }
    }
}

/// What comparing found.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Compared {
    /// Blocks that the edge believes to be here, and that are not.
    pub silent: BTreeMap<EpochLane, RangeSet>,
    pub equal: u64,
    pub differing: u64,
}

/// What the log knows of a lane's blocks.
#[derive(Clone, Debug, Default)]
pub struct InLog {
    /// Were there, and may have been let go.
    pub received: RangeSet,
    /// Were lost, and are not at the edge either.
    pub absent: RangeSet,
}

/// Of a block that came; `None`: taken by a ledger that did not reckon it.
type Found = BTreeMap<u64, Option<Tally>>;

/// Of whom all blocks have come.
fn judge(said: &Committed, found: &Found) -> Standing {
    let mut sum = Tally::default();
    for number in said.first_block..=said.last_block {
        match found.get(&number) {
            Some(Some(tally)) => sum.union(*tally),
            Some(None) | None => return Standing::Unknown,
        }
    }
    match sum == said.records {
        true => Standing::Equal,
        false => Standing::Differs,
    }
}

impl Ledger {
    /// To be called when the ledger has taken and committed all that the log had. `is_drained`: whether that edge has said last
    /// that the centre has everything of it. What is absent then, and was at the call before, is silent.
    pub fn compare(
        &mut self,
        is_drained: &dyn Fn(EdgeId) -> bool,
        in_log: &dyn Fn(&EpochLane) -> Result<InLog, LogError>,
    ) -> Result<Compared, LedgerError> {
        let mut compared = Compared::default();
        let mut suspects: BTreeMap<EpochLane, RangeSet> = BTreeMap::new();
        let mut lanes: BTreeMap<EpochLane, (RangeSet, InLog)> = BTreeMap::new();
        let book = self.reader()?;
        for said in book.open_statements()? {
            let (named, log) = match lanes.entry(said.lane) {
                Entry::Occupied(known) => known.into_mut(),
                Entry::Vacant(new) => {
                    new.insert((book.named_blocks(&said.lane)?, in_log(&said.lane)?))
                }
            };
            let mut absent = RangeSet::from_iter([said.first_block..=said.last_block]);
            if let Some(seen) = self.committed().seen.get(&said.lane) {
                absent.subtract(seen);
            }
            absent.subtract(named);
            let standing = if absent.is_empty() {
                judge(&said, &book.found(&said)?)
            } else {
                // The ledger has read all that the log holds: what was there, and it never saw, the log has let go.
                absent.subtract(&log.received);
                absent.subtract(&log.absent);
                match absent.is_empty() {
                    true => Standing::Unknown,
                    false => Standing::Open,
                }
            };
            match standing {
                Standing::Open if is_drained(said.lane.edge) => {
                    if let Some(before) = self.suspects.get(&said.lane) {
                        let silent = absent.intersection(before);
                        if !silent.is_empty() {
                            compared.silent.entry(said.lane).or_default().union(&silent);
                        }
                    }
                    suspects.entry(said.lane).or_default().union(&absent);
                }
                Standing::Open | Standing::Unknown => {}
                Standing::Equal => compared.equal += 1,
                Standing::Differs => {
                    compared.differing += 1;
                    tracing::error!(
                        lane = %said.lane, first = said.first_block, last = said.last_block, records = said.records.rows,
                        "Blocks have other records than their edge says"
                    );
                }
            }
            if standing != Standing::Open {
                self.settle(&said, standing)?;
            }
        }
        self.suspects = suspects;
        Ok(compared)
    }
}

impl Book {
    /// Statements of edges by how they stand.
    pub fn statements(&self) -> Result<BTreeMap<&'static str, u64>, LedgerError> {
        let wrong = self.wrong("count statements");
        let mut count = self
            .connection
            .prepare_cached("SELECT count(*) FROM committed WHERE standing = ?1")
            .map_err(&wrong)?;
        let mut counts = BTreeMap::new();
        for standing in Standing::ALL.map(Standing::as_str) {
            let found: i64 = count
                .query_row([standing], |row| row.get(0))
                .map_err(&wrong)?;
            counts.insert(standing, found.cast_unsigned());
        }
        Ok(counts)
    }

    fn open_statements(&self) -> Result<Vec<Committed>, LedgerError> {
        let wrong = self.wrong("read statements");
        let mut statement = self
            .connection
            .prepare_cached("SELECT datum FROM committed WHERE standing = 'open'")
            .map_err(&wrong)?;
        let data = statement
            .query_map([], |row| row.get::<_, Vec<u8>>(0))
            .map_err(&wrong)?;
        let mut open = Vec::new();
        for datum in data {
            let said = Committed::decode(&datum.map_err(&wrong)?);
            open.push(said.map_err(|error| self.damaged(&error))?);
        }
        Ok(open)
    }

    fn found(&self, said: &Committed) -> Result<Found, LedgerError> {
        let wrong = self.wrong("look for blocks");
        let mut statement = self
            .connection
            .prepare_cached(
                "SELECT number, records, digest FROM blocks JOIN lanes ON lanes.id = blocks.lane
                 WHERE lanes.lane = ?1 AND number BETWEEN ?2 AND ?3",
            )
            .map_err(&wrong)?;
        let of_said = params![
            said.lane.to_string(),
            said.first_block.cast_signed(),
            said.last_block.cast_signed()
        ];
        let rows = statement.query_map(of_said, |row| {
            let digest: Option<i64> = row.get(2)?;
            let rows = row.get::<_, i64>(1)?.cast_unsigned();
            let tally = digest.map(|digest| Tally {
                rows,
                digest: digest.cast_unsigned(),
            });
            Ok((row.get::<_, i64>(0)?.cast_unsigned(), tally))
        });
        rows.and_then(Iterator::collect).map_err(wrong)
    }

    /// Blocks of the lane that losses name.
    fn named_blocks(&self, lane: &EpochLane) -> Result<RangeSet, LedgerError> {
        let wrong = self.wrong("look for losses of blocks");
        let mut statement = self
            .connection
            .prepare_cached(
                "SELECT first, last FROM block_losses WHERE edge = ?1 AND epoch = ?2 AND lane = ?3",
            )
            .map_err(&wrong)?;
        let EpochLane { edge, epoch, lane } = lane;
        let of_lane = params![edge.to_string(), epoch.to_string(), lane.to_string()];
        let ranges = statement
            .query_map(of_lane, |row| Ok((row.get::<_, i64>(0)?, row.get(1)?)))
            .map_err(&wrong)?;
        let mut named = RangeSet::new();
        for range in ranges {
            let (first, last): (i64, i64) = range.map_err(&wrong)?;
            if first <= last {
                named.insert_range(first.cast_unsigned()..=last.cast_unsigned());
            }
        }
        Ok(named)
    }

    pub(crate) fn set_standing(
        &mut self,
        said: &Committed,
        standing: Standing,
    ) -> Result<(), LedgerError> {
        let first = said.first_block.cast_signed();
        self.connection
            .prepare_cached("UPDATE committed SET standing = ?1 WHERE lane = ?2 AND first = ?3")
            .and_then(|mut statement| {
                statement.execute(params![standing.as_str(), said.lane.to_string(), first])
            })
            .map(drop)
            .map_err(self.wrong("note how a statement stands"))
    }
}

/// A statement that came.
pub(crate) fn write(transaction: &Transaction<'_>, said: &Committed) -> rusqlite::Result<()> {
    let mut datum = Vec::new();
    said.encode(&mut datum);
    transaction
        .prepare_cached("INSERT OR IGNORE INTO committed VALUES (?1, ?2, 'open', ?3)")?
        .execute(params![
            said.lane.to_string(),
            said.first_block.cast_signed(),
            datum
        ])?;
    Ok(())
}
