//! A buffer's files under fire, and every command of the inspection tool on what is left of them. An input is a list of
//! changes to the kept buffer, as a file of SQLite's is too large to be one.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use efd_edge_inspect::export::Format;
use efd_edge_inspect::{
    Exit, Filter, InspectError, Screen, account, cat, export, ls, repair, verify,
};
use efd_shared_store::Depth;
use efd_tests_fuzz::{Rng, Target, told};

/// Which file, how, where (3), with what (2), how much.
const CHANGE_BYTES: usize = 8;
/// More changes leave nothing to find.
const CHANGES_MAX: usize = 12;
const PAGE_BYTES: usize = 8192;

/// Files by their path in the buffer.
type Files = BTreeMap<PathBuf, Vec<u8>>;

struct World {
    /// As kept: one closed in order, one as a power cut leaves it.
    buffers: [Files; 2],
    /// What `cat` says of each of them whole.
    lines: [BTreeSet<String>; 2],
}

static WORLD: LazyLock<World> = LazyLock::new(|| {
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../edge/inspect/fixtures");
    let buffers = ["buffer-v1", "buffer-v1-crashed"].map(|name| files(&fixtures.join(name)));
    let lines = [&buffers[0], &buffers[1]].map(|buffer| {
        let place = Place::new();
        place.write(buffer);
        let (exit, out) = ask(|screen| {
            cat::cat(
                &place.root(),
                &Filter::default(),
                &cat::Form::All,
                None,
                screen,
            )
        });
        assert!(matches!(exit, Ok(Exit::Intact)));
        lines(&out)
    });
    World { buffers, lines }
});

fn files(root: &Path) -> Files {
    let mut all = Files::new();
    let mut folders = vec![root.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if !path.to_string_lossy().ends_with("-shm") {
                let name = path.strip_prefix(root).unwrap().to_owned();
                all.insert(name, fs::read(&path).unwrap());
            }
        }
    }
    all
}

/// A folder of its own, in memory where there is such: a disk's fsync would be most of the time.
struct Place(PathBuf);

impl Place {
    fn new() -> Self {
        use std::sync::atomic::{AtomicU64, Ordering};
        static NUMBER: AtomicU64 = AtomicU64::new(0);
        let memory = Path::new("/dev/shm");
        let base = if memory.is_dir() {
            memory.to_owned()
        } else {
            std::env::temp_dir()
        };
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let folder = base.join(format!("efd-fuzz-buffer-{}-{number}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        Self(folder)
    }

    fn root(&self) -> PathBuf {
        self.0.join("buffer")
    }

    fn write(&self, buffer: &Files) {
        fs::create_dir_all(self.root().join("segments")).unwrap();
        for (name, bytes) in buffer {
            let path = self.root().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, bytes).unwrap();
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        fs::remove_dir_all(&self.0).ok();
    }
}

fn changed(input: &[u8]) -> (usize, Files) {
    let which = usize::from(input.first().copied().unwrap_or(0) & 1);
    let mut buffer = WORLD.buffers[which].clone();
    let changes = input.get(1..).unwrap_or_default();
    for change in changes.chunks_exact(CHANGE_BYTES).take(CHANGES_MAX) {
        apply(change, &mut buffer);
    }
    (which, buffer)
}

fn apply(change: &[u8], buffer: &mut Files) {
    let [file, how, a, b, c, d, e, much] = *change else {
        return;
    };
    let Some((name, bytes)) = buffer.iter().nth(usize::from(file) % buffer.len().max(1)) else {
        return;
    };
    let (name, mut bytes) = (name.clone(), bytes.clone());
    let at = (usize::from(a) | usize::from(b) << 8 | usize::from(c) << 16) % bytes.len().max(1);
    let value = [d, e];
    match how % 8 {
        // Where a page has its type, its count of cells, their places; where a row has its sizes.
        0 | 1 => xor(&mut bytes, at, d | 1),
        2 => put(
            &mut bytes,
            at / PAGE_BYTES * PAGE_BYTES + usize::from(much % 16),
            &value,
        ),
        3 => put(&mut bytes, at, &value),
        4 => (0..usize::from(much)).for_each(|index| put(&mut bytes, at + index, &[d])),
        5 => bytes.truncate(at),
        6 => {
            let (from, to) = (at / PAGE_BYTES * PAGE_BYTES, usize::from(much) * PAGE_BYTES);
            let page = bytes.get(from..from + PAGE_BYTES).map(<[u8]>::to_vec);
            put(&mut bytes, to, &page.unwrap_or_default());
        }
        _ => {
            buffer.remove(&name);
            return;
        }
    }
    buffer.insert(name, bytes);
}

fn xor(bytes: &mut [u8], at: usize, with: u8) {
    if let Some(byte) = bytes.get_mut(at) {
        *byte ^= with;
    }
}

fn put(bytes: &mut [u8], at: usize, with: &[u8]) {
    for (byte, &new) in bytes.iter_mut().skip(at).zip(with) {
        *byte = new;
    }
}

type Output = (Result<Exit, InspectError>, String);

fn ask(
    command: impl FnOnce(&mut Screen<&mut Vec<u8>, Vec<u8>>) -> Result<Exit, InspectError>,
) -> Output {
    let mut out = Vec::new();
    let exit = command(&mut Screen::new(&mut out, Vec::new(), false));
    (exit, String::from_utf8(out).unwrap())
}

fn lines(out: &str) -> BTreeSet<String> {
    out.lines().map(str::to_owned).collect()
}

/// Not done: only for a reason that names what is wrong with the input.
fn code(exit: &Result<Exit, InspectError>) -> u64 {
    match exit {
        Ok(exit) => *exit as u64,
        Err(error) => told(error),
    }
}

fn run(input: &[u8]) -> u64 {
    let (which, buffer) = changed(input);
    let place = Place::new();
    place.write(&buffer);
    let (root, all) = (place.root(), Filter::default());
    let mut ways = Vec::new();

    let read = |root: &Path| ask(|screen| cat::cat(root, &all, &cat::Form::All, None, screen));
    let (exit, out) = read(&root);
    let shown = lines(&out);
    assert_eq!(shown.len(), out.lines().count(), "a record twice");
    let whole = &WORLD.lines[which];
    // An old state of a page, or of a file, is intact as well: its records were written. Nothing else is shown.
    for line in &shown {
        assert!(whole.contains(line), "nobody wrote {line}");
    }
    ways.push(code(&exit));
    ways.push(shown.len() as u64 / 4);

    let (listed, _) = ask(|screen| ls::ls(&root, true, screen));
    let (verified, findings) = ask(|screen| verify::verify(&root, Depth::Content, false, screen));
    let detail = account::Detail::Topics;
    let (accounted, _) = ask(|screen| account::account(&root, &all, detail, true, screen));
    let options = export::Options {
        to: place.0.join("exported"),
        format: [Format::Parquet, Format::Csv, Format::Avro][input.len() % 3],
    };
    let (exported, _) = ask(|screen| export::export(&root, &all, &options, true, screen));
    ways.extend([&listed, &verified, &accounted, &exported].map(code));
    ways.extend(findings.lines().next().map(|line| told(&line)));
    if exit.is_ok() {
        assert!(exported.is_ok(), "{exported:?}");
        assert!(accounted.is_ok(), "{accounted:?}");
        let is_damaged = matches!(exit, Ok(Exit::Damaged));
        assert!(
            !is_damaged || matches!(verified, Ok(Exit::Damaged)),
            "verify is content"
        );
    }

    let to = place.0.join("repaired");
    let (repaired, _) = ask(|screen| repair::repair(&root, &to, false, screen));
    ways.push(code(&repaired));
    if exit.is_ok() {
        assert!(repaired.is_ok(), "{repaired:?}");
        let (again, whole) = read(&to);
        // A block needs the declarations of all streams before its own: with no copy of one left it is shown, and named.
        let carried = lines(&whole);
        assert!(carried.is_subset(&shown), "repair has what nobody shows");
        let is_named = matches!(repaired, Ok(Exit::Damaged));
        assert!(
            carried == shown || is_named,
            "repair has not what is intact"
        );
        assert!(again.is_ok());
    }
    let kept: Files = files(&root).into_iter().collect();
    assert!(kept == buffer, "it wrote");
    let text: Vec<String> = ways.iter().map(|way| format!("{way:x} ")).collect();
    hash(&text.concat())
}

fn hash(text: &str) -> u64 {
    text.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3)
    })
}

#[test]
fn buffer() {
    crate::run(&Target {
        name: "buffer",
        seed: |rng: &mut Rng| {
            let mut input = vec![rng.draw() as u8];
            for _ in 0..rng.below(3) {
                input.extend(rng.bytes::<CHANGE_BYTES>());
            }
            input
        },
        run,
        // A list of changes is always one; what they leave is what is tested.
        accepts: |_| true,
        repair: None,
        words: &[],
        memory_max: |_| 128 << 20,
    });
}
