//! `verify`: every checksum, number and cross-reference.

use std::io::{self, Write};
use std::path::Path;

use efd_shared_store::{Depth, Finding, Progress, Severity, Subject};
use serde_json::json;

use crate::outcome::{Exit, InspectError};
use crate::screen::{Screen, printable};
use crate::table::size;
use crate::tiers;

/// Between two lines of progress: bytes, as no clock is at hand.
const PROGRESS_BYTES: u64 = 16 << 20;

/// Gives each finding as it is made, then a summary: lines of text, or of JSON where `json`.
pub fn verify(
    path: &Path,
    depth: Depth,
    json: bool,
    screen: &mut Screen<impl Write, impl Write>,
) -> Result<Exit, InspectError> {
    // Two callbacks write to one screen.
    let shared = std::cell::RefCell::new(Verifying {
        screen,
        json,
        damage: 0,
        notes: 0,
        failed: None,
        shown: None,
    });
    let done = efd_shared_store::verify(
        path,
        depth,
        |finding| shared.borrow_mut().finding(&finding),
        |progress| shared.borrow_mut().progress(progress),
    )?;
    let mut verifying = shared.into_inner();
    let tiers = verifying.tiers(path)?;
    if let Some(error) = verifying.failed {
        return Err(error.into());
    }
    let Verifying {
        screen,
        damage,
        notes,
        ..
    } = verifying;
    screen.clear_progress()?;
    let Progress {
        segments_done: _,
        segments,
        blocks,
        records,
        bytes,
    } = done;
    if json {
        let summary = json!({
            "intact": damage == 0, "damage": damage, "notes": notes,
            "deep": depth == Depth::Content, "segments": segments, "blocks": blocks, "records": records, "bytes": bytes,
            "tier_files": tiers,
        });
        writeln!(screen.out, "{summary}")?;
    } else {
        let verdict = match damage {
            0 => "intact".to_owned(),
            1 => "DAMAGED, 1 finding".to_owned(),
            findings => format!("DAMAGED, {findings} findings"),
        };
        let size = size(bytes);
        let how = match depth {
            Depth::Stored => "",
            Depth::Content => " and decompressed",
        };
        writeln!(
            screen.out,
            "{verdict}: {segments} segments, {blocks} blocks, {records} records, {size} checked{how}{}",
            match tiers {
                0 => String::new(),
                files => format!("; {files} files of tiers"),
            }
        )?;
    }
    Ok(screen.end()?)
}

struct Verifying<'a, O, E> {
    screen: &'a mut Screen<O, E>,
    json: bool,
    damage: u64,
    notes: u64,
    /// The output could not be written: ends the work.
    failed: Option<io::Error>,
    /// Segments and bytes of the last line of progress.
    shown: Option<(usize, u64)>,
}

impl<O: Write, E: Write> Verifying<'_, O, E> {
    fn finding(&mut self, finding: &Finding) -> bool {
        let Finding {
            severity,
            subject,
            what,
        } = finding;
        match severity {
            Severity::Damage => {
                self.damage += 1;
                self.screen.count_damage();
            }
            Severity::Note => self.notes += 1,
        }
        let (kind, subject) = (kind(*severity), describe(subject));
        let written = self.screen.clear_progress().and_then(|()| {
            if self.json {
                let finding = json!({"finding": kind, "subject": subject, "what": what});
                writeln!(self.screen.out, "{finding}")
            } else {
                writeln!(
                    self.screen.out,
                    "{kind}: {}",
                    printable(&format!("{subject}: {what}"))
                )
            }
        });
        self.goes_on(written)
    }

    /// Statistics are small: read whole. Gives how many files there are.
    fn tiers(&mut self, root: &Path) -> Result<usize, InspectError> {
        let files = tiers::held(root)?;
        for (_, path) in &files {
            for what in tiers::damage_of(path) {
                let goes_on = self.finding(&Finding {
                    severity: Severity::Damage,
                    subject: Subject::File(path.clone()),
                    what,
                });
                if !goes_on {
                    return Ok(files.len());
                }
            }
        }
        Ok(files.len())
    }

    fn progress(&mut self, progress: Progress) -> bool {
        let Progress {
            segments_done,
            segments,
            blocks,
            records: _,
            bytes,
        } = progress;
        let step = (segments_done, bytes / PROGRESS_BYTES);
        if self.shown == Some(step) {
            return true;
        }
        self.shown = Some(step);
        let segment = segments.min(segments_done + 1);
        let line = format!(
            "segment {segment} of {segments}, {blocks} blocks, {}",
            size(bytes)
        );
        let written = self.screen.progress(line);
        self.goes_on(written)
    }

    fn goes_on(&mut self, written: io::Result<()>) -> bool {
        match written {
            Ok(()) => true,
            Err(error) => {
                self.failed.get_or_insert(error);
                false
            }
        }
    }
}

fn kind(severity: Severity) -> &'static str {
    match severity {
        Severity::Note => "note",
        Severity::Damage => "damage",
    }
}

fn describe(subject: &Subject) -> String {
    match subject {
        Subject::File(path) => path.display().to_string(),
        Subject::Block {
            segment,
            position,
            id,
        } => match id {
            Some(id) => format!("segment {segment}, position {position}, block {id}"),
            None => format!("segment {segment}, position {position}"),
        },
        Subject::Log(log) => log.to_string(),
    }
}
