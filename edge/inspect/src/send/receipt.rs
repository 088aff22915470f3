//! What the centre has acknowledged, as a file that goes back to where the buffer is.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{Read, Write};
use std::path::Path;

use efd_shared_model::{EdgeId, EpochLane, RangeSet};
use serde::{Deserialize, Serialize};

use super::SendError;

/// Tells which blocks of an edge a centre has, so that they need not be carried to it again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Receipt {
    pub edge: EdgeId,
    /// `host:port` that was connected to.
    pub centre: String,
    /// UTC.
    pub at: String,
    received: BTreeMap<EpochLane, RangeSet>,
}

const FORMAT: &str = "efd-receipt/1";
/// More is no receipt of ours: a range takes some 20 bytes.
const BYTES_MAX: u64 = 64 << 20;

/// The file: one JSON object.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct ReceiptFile {
    format: String,
    edge: String,
    centre: String,
    at: String,
    received: Vec<ReceivedLane>,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct ReceivedLane {
    epoch: String,
    lane: String,
    /// First and last block number of each range.
    numbers: Vec<(u64, u64)>,
}

impl Receipt {
    pub(crate) fn new(
        edge: EdgeId,
        centre: String,
        at: String,
        received: BTreeMap<EpochLane, RangeSet>,
    ) -> Self {
        Self {
            edge,
            centre,
            at,
            received,
        }
    }

    pub(crate) fn received(&self, lane: &EpochLane) -> RangeSet {
        self.received.get(lane).cloned().unwrap_or_default()
    }

    pub(crate) fn check_edge(&self, edge: EdgeId) -> Result<(), SendError> {
        if self.edge == edge {
            return Ok(());
        }
        Err(SendError::ReceiptOfOther {
            of: self.edge,
            edge,
        })
    }

    pub fn read(path: &Path) -> Result<Self, SendError> {
        let failed = |reason: String| SendError::Receipt {
            path: path.to_owned(),
            reason,
        };
        let mut text = String::new();
        let file = File::open(path).map_err(|error| failed(error.to_string()))?;
        file.take(BYTES_MAX)
            .read_to_string(&mut text)
            .map_err(|error| failed(error.to_string()))?;
        Self::parse(&text).map_err(failed)
    }

    fn parse(text: &str) -> Result<Self, String> {
        let ReceiptFile {
            format,
            edge,
            centre,
            at,
            received,
        } = serde_json::from_str(text).map_err(|error| error.to_string())?;
        if format != FORMAT {
            return Err(format!(
                "its format is `{format}`, this build reads `{FORMAT}`"
            ));
        }
        let edge: EdgeId = edge
            .parse()
            .map_err(|_| format!("`{edge}` is not an edge"))?;
        let mut lanes: BTreeMap<EpochLane, RangeSet> = BTreeMap::new();
        for ReceivedLane {
            epoch,
            lane,
            numbers,
        } in received
        {
            let log = EpochLane {
                edge,
                epoch: epoch
                    .parse()
                    .map_err(|_| format!("`{epoch}` is not an epoch"))?,
                lane: lane
                    .parse()
                    .map_err(|_| format!("`{lane}` is not a lane"))?,
            };
            let set = lanes.entry(log).or_default();
            for (first, last) in numbers {
                if first == 0 || last < first {
                    return Err(format!("{first} to {last} are not block numbers"));
                }
                set.insert_range(first..=last);
            }
        }
        Ok(Self::new(edge, centre, at, lanes))
    }

    /// Whole or not at all.
    pub(crate) fn write(&self, path: &Path) -> Result<(), SendError> {
        let file = ReceiptFile {
            format: FORMAT.to_owned(),
            edge: self.edge.to_string(),
            centre: self.centre.clone(),
            at: self.at.clone(),
            received: self
                .received
                .iter()
                .map(|(log, set)| ReceivedLane {
                    epoch: log.epoch.to_string(),
                    lane: log.lane.to_string(),
                    numbers: set.iter().map(|range| range.into_inner()).collect(),
                })
                .collect(),
        };
        let put = || {
            let partial = super::partial(path);
            let mut out = File::create(&partial)?;
            serde_json::to_writer(&mut out, &file)?;
            out.write_all(b"\n")?;
            out.sync_all()?;
            fs::rename(&partial, path)
        };
        put().map_err(|error: std::io::Error| SendError::Receipt {
            path: path.to_owned(),
            reason: error.to_string(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = r#"{"format":"efd-receipt/1","edge":"edededed-eded-eded-eded-edededededed","centre":"c:4433","at":"2026-11-24T00:00:00Z","received":[{"epoch":"01010101-0101-0101-0101-010101010101","lane":"telemetry","numbers":[[1,3],[7,7]]}]}"#;

    #[test]
    fn a_file_is_read_as_it_was_written() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("receipt.json");
        let receipt = Receipt::parse(TEXT).unwrap();
        assert_eq!(
            receipt
                .received
                .values()
                .map(RangeSet::member_count)
                .sum::<u64>(),
            4
        );
        receipt.write(&path).unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap().trim_end(), TEXT);
        assert_eq!(Receipt::read(&path).unwrap(), receipt);
    }

    #[test]
    fn what_is_no_receipt_is_refused_with_a_reason() {
        for (from, to, reason) in [
            ("receipt/1", "receipt/2", "this build reads `efd-receipt/1`"),
            ("[1,3]", "[3,1]", "3 to 1 are not block numbers"),
            ("[1,3]", "[0,1]", "0 to 1 are not block numbers"),
            ("telemetry", "nonsense", "`nonsense` is not a lane"),
            ("\"at\"", "\"when\"", "unknown field `when`"),
            ("}]}", "", "EOF"),
        ] {
            let error = Receipt::parse(&TEXT.replace(from, to)).unwrap_err();
            assert!(error.contains(reason), "{error}");
        }
    }
}
