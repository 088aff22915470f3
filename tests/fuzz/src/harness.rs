//! Replays what was found before, then mutates until the time is up.

use std::collections::BTreeSet;
use std::fmt::Display;
use std::fs;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::io::Write;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::memory::peak_of;
use crate::mutate::mutate;
use crate::rng::Rng;

/// One parser under fire.
#[derive(Clone, Copy)]
pub struct Target {
    /// Folder below `corpus/`.
    pub name: &'static str,
    /// A valid input.
    pub seed: fn(&mut Rng) -> Vec<u8>,
    /// Takes any input. Gives a number that tells how it was taken ([`told`] makes one of an error), or panics, which
    /// is a finding: assertions belong here.
    pub run: fn(&[u8]) -> u64,
    /// Whether the input is taken as valid: all seeds are, in every later version too.
    pub accepts: fn(&[u8]) -> bool,
    /// Makes whole again what no mutation gets through: checksums, compression. Done to every second input.
    pub repair: Option<fn(&mut Vec<u8>)>,
    /// What a text is made of.
    pub words: &'static [&'static str],
    /// Memory that the run of an input of so many bytes may hold at once.
    pub memory_max: fn(usize) -> u64,
}

impl std::fmt::Debug for Target {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Target({})", self.name)
    }
}

/// Valid inputs that a run begins with.
const SEEDS: usize = 48;
/// Inputs kept for being taken in a new way; more would only slow the search down.
const POOL_MAX: usize = 2048;
/// Inputs between two looks at the clock.
const ROUND: usize = 64;
const SECONDS: f64 = 3.0;

/// Replays `corpus/<target>` below `manifest`, then tries new inputs.
///
/// # Panics
///
/// On a finding, with its seed and the file that it was written to.
pub fn fuzz(target: &Target, manifest: &str) {
    let corpus = Path::new(manifest).join("corpus").join(target.name);
    let seed = seed_of_run();
    let limit = Duration::from_secs_f64(
        setting("EFD_FUZZ_SECONDS")
            .and_then(|text| text.parse().ok())
            .unwrap_or(SECONDS),
    );
    // Not captured: an input that ends the whole process (a stack that overflows) leaves at least this.
    say(&format!(
        "fuzz {}: EFD_FUZZ_SEED={seed} for {limit:?}",
        target.name
    ));

    let mut run = Run {
        target,
        corpus: &corpus,
        seed,
        rng: Rng::new(seed),
        pool: Vec::new(),
        ways: BTreeSet::new(),
    };
    let replayed = run.replay();
    for _ in 0..SEEDS {
        let input = (target.seed)(&mut run.rng);
        assert!(
            (target.accepts)(&input),
            "fuzz {}: a seed is not valid",
            target.name
        );
        run.attempt(input, None);
    }
    let begin = now();
    let mut inputs = 0u64;
    while now().duration_since(begin) < limit {
        for _ in 0..ROUND {
            run.mutate();
        }
        inputs += ROUND as u64;
    }
    let rate = inputs as f64 / now().duration_since(begin).as_secs_f64();
    say(&format!(
        "fuzz {}: {inputs} inputs, {rate:.0} a second, taken in {} ways, {replayed} of the corpus replayed",
        target.name,
        run.ways.len()
    ));
}

/// A number for a way of being taken: the same for two messages that differ in numbers only.
pub fn told(message: &impl Display) -> u64 {
    let mut hash = 0xcbf2_9ce4_8422_2325u64;
    for byte in message
        .to_string()
        .bytes()
        .filter(|byte| !byte.is_ascii_digit())
        .take(120)
    {
        hash = (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3);
    }
    hash
}

struct Run<'a> {
    target: &'a Target,
    corpus: &'a Path,
    seed: u64,
    rng: Rng,
    pool: Vec<Vec<u8>>,
    ways: BTreeSet<u64>,
}

impl Run<'_> {
    fn replay(&mut self) -> usize {
        let mut files = files(self.corpus);
        if files.is_empty() && setting("EFD_FUZZ_WRITE_SEEDS").is_some() {
            files = self.write_seeds();
        }
        for file in &files {
            let input =
                fs::read(file).unwrap_or_else(|error| panic!("read {}: {error}", file.display()));
            let is_valid = file
                .file_name()
                .is_some_and(|name| name.to_string_lossy().starts_with("valid-"));
            let accepted = || (self.target.accepts)(&input);
            assert!(!is_valid || accepted(), "{} was valid once", file.display());
            self.attempt(input, Some(file));
        }
        files.len()
    }

    /// A few small ones: fixtures more than fuel.
    fn write_seeds(&self) -> Vec<PathBuf> {
        let mut rng = Rng::new(1);
        let mut seeds: Vec<_> = (0..SEEDS).map(|_| (self.target.seed)(&mut rng)).collect();
        seeds.sort_by_key(Vec::len);
        seeds.dedup();
        let step = (seeds.len() / 4).max(1);
        let chosen = seeds
            .iter()
            .step_by(step)
            .filter(|seed| seed.len() <= 8 << 10)
            .take(4);
        fs::create_dir_all(self.corpus)
            .unwrap_or_else(|error| panic!("create {}: {error}", self.corpus.display()));
        let write = |(index, seed): (usize, &Vec<u8>)| {
            let file = self.corpus.join(format!("valid-{}", index + 1));
            fs::write(&file, seed)
                .unwrap_or_else(|error| panic!("write {}: {error}", file.display()));
            file
        };
        chosen.enumerate().map(write).collect()
    }

    fn mutate(&mut self) {
        let (base, other) = (
            self.rng.below(self.pool.len()),
            self.rng.below(self.pool.len()),
        );
        let (Some(base), Some(other)) = (self.pool.get(base), self.pool.get(other)) else {
            return;
        };
        let mut input = mutate(base, other, self.target.words, &mut self.rng);
        if let (Some(repair), true) = (self.target.repair, self.rng.one_in(2)) {
            repair(&mut input);
        }
        self.attempt(input, None);
    }

    /// `file`: where the input came from.
    fn attempt(&mut self, input: Vec<u8>, file: Option<&Path>) {
        let target = self.target;
        let (outcome, peak) = peak_of(|| catch_unwind(AssertUnwindSafe(|| (target.run)(&input))));
        let limit = (target.memory_max)(input.len());
        let finding = match &outcome {
            Err(cause) => Some(format!("panic: {}", message(cause.as_ref()))),
            Ok(_) if limit < peak => Some(format!(
                "{peak} bytes of memory for {} of input, at most {limit} are allowed",
                input.len()
            )),
            Ok(_) => None,
        };
        if let Some(finding) = finding {
            let file = file.map_or_else(|| self.keep(&input), Path::to_owned);
            panic!(
                "fuzz {}: {finding}\n  EFD_FUZZ_SEED={}\n  input: {}",
                target.name,
                self.seed,
                file.display()
            );
        }
        if outcome.is_ok_and(|way| self.ways.insert(way)) && self.pool.len() < POOL_MAX {
            self.pool.push(input);
        }
    }

    fn keep(&self, input: &[u8]) -> PathBuf {
        let mut name = 0xcbf2_9ce4_8422_2325u64;
        for &byte in input {
            name = (name ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3);
        }
        let file = self.corpus.join(format!("found-{name:016x}"));
        let written = fs::create_dir_all(self.corpus).and_then(|()| fs::write(&file, input));
        if let Err(error) = written {
            say(&format!(
                "the input could not be kept: write {}: {error}",
                file.display()
            ));
        }
        file
    }
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let mut files: Vec<_> = entries.map(|entry| entry.path()).collect();
    files.sort();
    files
}

fn message(cause: &(dyn std::any::Any + Send)) -> &str {
    let text = cause.downcast_ref::<&str>().copied();
    text.or_else(|| cause.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("of unknown kind")
}

fn setting(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

fn seed_of_run() -> u64 {
    let given = setting("EFD_FUZZ_SEED").map(|text| text.parse());
    match given {
        Some(Ok(seed)) => seed,
        Some(Err(error)) => panic!("EFD_FUZZ_SEED is not a number: {error}"),
        None => RandomState::new().build_hasher().finish(),
    }
}

/// Past the capture of the test runner.
fn say(line: &str) {
    let written = writeln!(std::io::stderr(), "{line}");
    debug_assert!(written.is_ok(), "standard error is there");
}

#[expect(
    clippy::disallowed_methods,
    reason = "the end of the search is a matter of time, and nothing else is"
)]
fn now() -> Instant {
    Instant::now()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target(run: fn(&[u8]) -> u64) -> Target {
        Target {
            name: "self-test",
            seed: |rng| rng.bytes::<16>().to_vec(),
            run,
            accepts: |_| true,
            repair: None,
            words: &[],
            memory_max: |_| 1 << 20,
        }
    }

    fn finds(run: fn(&[u8]) -> u64) -> (String, Vec<PathBuf>) {
        let folder = std::env::temp_dir().join(format!(
            "efd-fuzz-{}-{:x}",
            std::process::id(),
            run as usize
        ));
        let failed = catch_unwind(|| fuzz(&target(run), &folder.display().to_string()));
        let files = files(&folder.join("corpus/self-test"));
        let again = files
            .first()
            .map(|_| catch_unwind(|| fuzz(&target(run), &folder.display().to_string())));
        assert!(
            again.is_none_or(|again| again.is_err()),
            "a kept input fails at once"
        );
        fs::remove_dir_all(&folder).ok();
        let text = failed.err().map(|cause| message(cause.as_ref()).to_owned());
        (text.unwrap_or_default(), files)
    }

    /// A fuzzer that finds nothing must not pass for a parser that is sound.
    #[test]
    fn a_planted_bug_is_found_and_kept() {
        let (text, files) = finds(|input| {
            assert!(input.len() != 13 || input[3] & 0x80 == 0, "planted");
            input.len() as u64
        });
        assert!(
            text.contains("panic: planted") && text.contains("EFD_FUZZ_SEED="),
            "{text}"
        );
        assert_eq!(files.len(), 1);
    }

    #[test]
    fn the_same_seed_gives_the_same_inputs() {
        let sequence = |seed| {
            let mut rng = Rng::new(seed);
            let base: [u8; 40] = rng.bytes();
            (0..100)
                .map(|_| mutate(&base, &base, &["word"], &mut rng))
                .collect::<Vec<_>>()
        };
        assert_eq!(sequence(7), sequence(7));
        assert_ne!(sequence(7), sequence(8));
    }

    #[test]
    fn messages_that_differ_in_numbers_are_one_way() {
        assert_eq!(told(&"at byte 7"), told(&"at byte 123"));
        assert_ne!(told(&"at byte 7"), told(&"behind byte 7"));
    }
}
