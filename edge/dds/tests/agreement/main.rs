//! Our reading of CDR against Cyclone's own serializer: types and values at random, both ways.
//!
//! Each case is a type, a value and an encoding. A payload of the naive writer goes into Cyclone; what
//! Cyclone makes of its sample in memory, in XCDR1 and XCDR2, in both byte orders, must give the datum
//! of the value by our plan. Keys must be alike exactly where Cyclone says that instances are the same,
//! and the type that Cyclone announces must be the type that was made.
//!
//! `SIM_SEED=0x…` replays one type with all its values; `EFD_SEEDS=N` asks for N types. Where the library
//! ends the process, `SIM_TRACE=1 cargo test … -- --nocapture` names each seed before it begins.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::wildcard_enum_match_arm,
    unreachable_pub,
    reason = "a test stops where it fails, in its helpers too"
)]

mod announced;
mod cyclone;
mod damaged;
mod dynamic;
mod fit;
mod mend;
mod refused;

#[path = "../../../transcode/tests/general/choices.rs"]
mod choices;
#[path = "../../../transcode/tests/general/key.rs"]
mod key;
#[path = "../../../transcode/tests/general/same.rs"]
mod same;
#[path = "../../../transcode/tests/general/topic.rs"]
mod topic;
#[allow(
    dead_code,
    reason = "made for the tests of the transcoder, which use all of it"
)]
#[path = "../../../transcode/tests/general/types.rs"]
mod types;
#[path = "../../../transcode/tests/general/value.rs"]
mod value;
#[allow(
    dead_code,
    reason = "made for the tests of the transcoder, which use all of it"
)]
#[path = "../../../transcode/tests/general/writer.rs"]
mod writer;

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

use choices::Choices;
use cyclone::{Content, Domain, Native, Sample, Serdata};
use dynamic::Maker;
use efd_edge_transcode::KeyOf;
use efd_shared_types::general::Node;
use efd_shared_types::model::Extensibility;
use topic::Topic;
use types::{Makeup, StructTy};
use value::Slot;
use writer::Encoding;

/// Types in a run, unless `EFD_SEEDS` says otherwise.
const TYPES: u64 = 4000;
/// Cases in such a run, at least; some 45,000 are usual.
const CASES_MIN: usize = 10_000;
const TYPES_OF_DOMAIN: usize = 1000;
/// Of each type, each in all encodings.
const VALUES: usize = 4;
/// Of each payload.
const DAMAGED: usize = 3;

#[test]
fn cyclone_and_we_agree() {
    let (seeds, is_usual) = seeds();
    let mut totals = Totals::default();
    // A domain keeps its types.
    for seeds in seeds.chunks(TYPES_OF_DOMAIN) {
        let domain = Domain::open(1);
        for &seed in seeds {
            check_seed(&domain, seed, &mut totals);
        }
    }
    println!("{totals:?}");
    // Nothing of it is there by accident only.
    let Totals {
        cases,
        xcdr1,
        same_keys,
        other_keys,
        without_value,
        taken_by_both,
        ..
    } = totals;
    if is_usual {
        assert!(cases > CASES_MIN && without_value < cases / 20);
        assert!(taken_by_both > cases / 10);
        assert!(xcdr1 > cases / 5 && same_keys > cases / 2 && other_keys > cases / 2);
    }
}

fn check_seed(domain: &Domain, seed: u64, totals: &mut Totals) {
    if std::env::var_os("SIM_TRACE").is_some() {
        println!("SIM_SEED={seed:#x}");
    }
    let run = catch_unwind(AssertUnwindSafe(|| check_type(domain, seed, totals)));
    run.unwrap_or_else(|panic| {
        println!("SIM_SEED={seed:#x} replays it");
        resume_unwind(panic)
    });
}

#[derive(Debug, Default)]
struct Totals {
    cases: usize,
    xcdr1: usize,
    /// Pairs of samples of a keyed type.
    same_keys: usize,
    other_keys: usize,
    /// Cases in which what is absent has no value in Cyclone.
    without_value: usize,
    /// Payloads with some bytes changed.
    taken_by_both: usize,
    taken_by_us: usize,
    taken_by_cyclone: usize,
    taken_by_none: usize,
}

/// And whether they are the usual ones.
fn seeds() -> (Vec<u64>, bool) {
    if let Ok(text) = std::env::var("SIM_SEED") {
        let digits = text.strip_prefix("0x").unwrap_or(&text);
        return (vec![u64::from_str_radix(digits, 16).unwrap()], false);
    }
    let asked = std::env::var("EFD_SEEDS").ok();
    let is_usual = asked.is_none();
    let count = asked.map_or(TYPES, |text| text.parse().unwrap());
    ((1..=count).collect(), is_usual)
}

/// Steele, Lea & Flood, "Fast splittable pseudorandom number generators", 2014: SplitMix64.
fn bytes(seed: u64, count: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x2545_f491_4f6c_dd1d);
    let words = std::iter::repeat_with(move || {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    });
    words.flat_map(u64::to_le_bytes).take(count).collect()
}

fn check_type(domain: &Domain, seed: u64, totals: &mut Totals) {
    let random = bytes(seed, 32 << 10);
    let (of_type, rest) = random.split_at(usize::from(random[0]) * 3);
    let (of_making, of_values) = rest.split_at(512);
    let (ty, types) = types::random_of(Makeup::Cyclone, &mut Choices::new(of_type));
    let topic = topic::topic(&types, &ty.name);
    let made = Maker::new(domain, &mut Choices::new(of_making)).structure(&ty);
    let native = made.and_then(|made| Native::new(domain, made, &ty));
    let native = native.unwrap_or_else(|refused| panic!("{refused:?}: {ty:?}"));
    announced::check(native.announced(), &topic);

    let choices = &mut Choices::new(of_values);
    let mut instances: Vec<Instance> = Vec::new();
    let mut first: Option<Vec<Slot>> = None;
    for _ in 0..VALUES {
        let mut slots = fit::members(&ty, choices);
        if let Some(first) = &first {
            slots = fit::mixed(&ty, [first, &slots], 170, choices);
        }
        for encoding in encodings(ty.ext, native.has_xcdr1()) {
            let case = Case {
                ty: &ty,
                topic: &topic,
                native: &native,
                encoding,
            };
            totals.cases += 1;
            totals.xcdr1 += usize::from(!encoding.xcdr2);
            let (payload, instance) = case.check(&slots, choices);
            match instance {
                Some(instance) => instances.push(instance),
                None => totals.without_value += 1,
            }
            if damaged::is_fit(&topic) {
                for _ in 0..DAMAGED {
                    damaged::check(&case, &payload, choices, totals);
                }
            }
        }
        first.get_or_insert(slots);
    }
    for (at, (one, key_of_one)) in instances.iter().enumerate() {
        for (other, key_of_other) in &instances[..at] {
            let is_same = key_of_one == key_of_other;
            assert_eq!(
                one.is_same_instance(other),
                is_same,
                "{key_of_one:02x?} and {key_of_other:02x?} of {ty:?}"
            );
            let is_keyed = native.is_keyed();
            totals.same_keys += usize::from(is_keyed && is_same);
            totals.other_keys += usize::from(is_keyed && !is_same);
        }
    }
}

/// Those that a writer of such a type has.
fn encodings(ext: Extensibility, has_xcdr1: bool) -> impl Iterator<Item = Encoding> {
    let mut all = Encoding::all();
    all.retain(|it| {
        let layout = if !it.xcdr2 && ext == Extensibility::Appendable {
            Extensibility::Final
        } else {
            ext
        };
        it.layout == layout && (it.xcdr2 || has_xcdr1)
    });
    all.into_iter()
}

/// With our key of it.
type Instance = (Serdata, Vec<u8>);

struct Case<'a> {
    ty: &'a StructTy,
    topic: &'a Topic,
    native: &'a Native<'a>,
    encoding: Encoding,
}

impl Case<'_> {
    /// The payload. The instance, and our key of it; `None` where what is absent has no value in Cyclone.
    fn check(&self, slots: &[Slot], choices: &mut Choices<'_>) -> (Vec<u8>, Option<Instance>) {
        let (payload, expected) = self.payload(slots, choices, false);
        self.reads_as(&payload, &expected);
        let expected = fit::filled(self.ty, &expected);
        let instance = expected.map(|expected| self.both_ways(&payload, &expected, choices));
        (payload, instance)
    }

    fn both_ways(&self, payload: &[u8], expected: &[Slot], choices: &mut Choices<'_>) -> Instance {
        let Self {
            ty,
            native,
            encoding,
            ..
        } = self;
        let serdata = native.receive(Content::Sample, payload);
        let serdata =
            serdata.unwrap_or_else(|| panic!("refused: {encoding:?}: {payload:02x?} of {ty:?}"));
        let key = key::expected(ty, expected).unwrap();
        for (content, written) in self.written(&native.sample(&serdata)) {
            let holds = match content {
                Content::Sample => {
                    self.reads_as(&written, expected);
                    KeyOf::Sample
                }
                Content::Key => KeyOf::Key,
            };
            let mut found = Vec::new();
            let result = self.topic.plan.key_bytes(&written, holds, &mut found);
            assert_eq!(result, Ok(()), "{content:?}: {written:02x?} of {ty:?}");
            assert_eq!(found, key, "{content:?}: {written:02x?} of {ty:?}");
        }
        if native.is_keyed() {
            // Which instance it has is another matter: the library compares the bytes of a key as it came,
            // padding and the order of members included.
            let (payload, _) = self.payload(expected, choices, true);
            let taken = native.receive(Content::Key, &payload);
            assert!(taken.is_some(), "refused: key {payload:02x?} of {ty:?}");
        }
        (serdata, key)
    }

    fn payload(
        &self,
        slots: &[Slot],
        choices: &mut Choices<'_>,
        key_only: bool,
    ) -> (Vec<u8>, Vec<Slot>) {
        let Self { ty, encoding, .. } = self;
        writer::write_of(Makeup::Cyclone, *encoding, ty, slots, choices, key_only)
    }

    /// All that Cyclone may send of a sample.
    fn written(&self, sample: &Sample<'_>) -> Vec<(Content, Vec<u8>)> {
        let mut all = Vec::new();
        for xcdr2 in [true, false] {
            for content in [Content::Sample, Content::Key] {
                let is_none = content == Content::Key && !self.native.is_keyed();
                if is_none || !xcdr2 && !self.native.has_xcdr1() {
                    continue;
                }
                all.push((content, sample.write(xcdr2, content)));
                // It leaves the units of wide text in the order of this machine.
                let has_wide = |node: &Node| matches!(node, Node::WideText);
                if !self.topic.topic.nodes.iter().any(has_wide) {
                    all.push((content, sample.write_big_endian(xcdr2, content)));
                }
            }
        }
        all
    }

    fn reads_as(&self, payload: &[u8], expected: &[Slot]) {
        let Self {
            ty,
            topic,
            encoding,
            ..
        } = self;
        let mut datum = Vec::new();
        let outcome = topic.transcode(payload, &mut datum);
        outcome.unwrap_or_else(|error| panic!("{encoding:?}: {error}: {payload:02x?} of {ty:?}"));
        let found = topic.read(&datum);
        assert!(
            same::same_members(ty, expected, &found),
            "{encoding:?}: {payload:02x?} of {ty:?}\nexpected {expected:?}\nfound {found:?}"
        );
    }
}
