//! How files are touched: SQLite connections with the store's settings, and the few calls on folders.

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::config::DbConfig;
use rusqlite::limits::Limit;
use rusqlite::{Connection, OpenFlags};

use crate::error::{StoreError, file, sql};
use crate::options::Options;

/// Version of the files that this build writes and the newest it reads; `STORE.md` describes it.
pub const FORMAT: i64 = 1;

/// Older ones can corrupt a WAL file when two connections meet at its reset.
const SQLITE_NEEDED: i32 = 3_051_003;
/// Of an SQLite file.
const HEADER_BYTES: usize = 100;
const TOO_SHORT: &str = "shorter than a header";
/// A damaged length must not ask for more memory than the largest block.
const VALUE_BYTES_MAX: i32 = 40 << 20;
const _: () =
    assert!(efd_shared_model::block::PAYLOAD_BYTES_MAX + (1 << 20) < VALUE_BYTES_MAX as usize);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FileKind {
    Meta,
    Segment,
    /// Of a tier: see the crate `efd-shared-tiers`.
    Tier,
}

impl FileKind {
    /// `application_id` in the file's header: "EFDM", "EFDS", "EFDT".
    pub(crate) fn application_id(self) -> i64 {
        i64::from(match self {
            Self::Meta => u32::from_be_bytes(*b"EFDM"),
            Self::Segment => u32::from_be_bytes(*b"EFDS"),
            Self::Tier => u32::from_be_bytes(*b"EFDT"),
        })
    }

    /// A tier's values are of some kilobytes: half a page of each is lost.
    fn page_bytes(self) -> u32 {
        match self {
            Self::Meta | Self::Segment => 8192,
            Self::Tier => 2048,
        }
    }
}

/// How a file is opened for reading.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Beside a writer, as long as there is a WAL: rows still in it are seen.
    Live,
    /// The file never changes again, or cannot: nothing beside it is opened or made.
    Immutable,
    /// As `Immutable`, as long as it has no WAL: nobody has written to it since it was put to rest.
    Resting,
    /// A WAL that nobody has open, as a dead writer leaves it: its index is held in memory, nothing is made beside it, and
    /// nothing is locked. A file that cannot be written, too.
    Alone,
}

impl Access {
    /// What it is at the moment: SQLite would make a WAL where `Live` finds none.
    pub(crate) fn at_present(self, path: &Path) -> Self {
        match self {
            Self::Immutable => Self::Immutable,
            _ if !with_suffix(path, "-wal").exists() => Self::Resting,
            Self::Live => Self::Live,
            // Whoever has a WAL open has its index open as well.
            Self::Resting | Self::Alone if with_suffix(path, "-shm").exists() => Self::Live,
            Self::Resting | Self::Alone => Self::Alone,
        }
    }
}

/// Settings that every connection of a store shares.
#[derive(Clone, Debug, Default)]
pub struct Disk {
    #[cfg(feature = "sabotage")]
    sabotage: crate::options::Sabotage,
}

impl Disk {
    #[cfg_attr(
        not(feature = "sabotage"),
        expect(unused_variables, reason = "only tests change the disk")
    )]
    pub fn new(options: &Options) -> Self {
        Self {
            #[cfg(feature = "sabotage")]
            sabotage: options.sabotage.clone(),
        }
    }

    pub(crate) fn check_sqlite() -> Result<(), StoreError> {
        if rusqlite::version_number() >= SQLITE_NEEDED {
            return Ok(());
        }
        let (major, minor, patch) = (
            SQLITE_NEEDED / 1_000_000,
            SQLITE_NEEDED / 1000 % 1000,
            SQLITE_NEEDED % 1000,
        );
        Err(StoreError::OldSqlite {
            found: rusqlite::version().to_owned(),
            needed: format!("{major}.{minor}.{patch}"),
        })
    }

    /// The writer's connection. Nothing is copied out of the WAL at its close unless asked for: after an I/O error
    /// the file is left as it is.
    pub fn open_writer(&self, path: &Path) -> Result<Connection, StoreError> {
        refuse_stub(path)?;
        let connection = self.connect(path, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
        let set = || -> rusqlite::Result<()> {
            connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)?;
            connection.pragma_update(None, "wal_autocheckpoint", 0)?;
            self.set_synchronous(&connection, "FULL")
        };
        set().map_err(sql("open", path))?;
        Ok(connection)
    }

    pub(crate) fn set_synchronous(
        &self,
        connection: &Connection,
        level: &str,
    ) -> rusqlite::Result<()> {
        #[cfg(feature = "sabotage")]
        let level = if self.sabotage.no_fsync { "OFF" } else { level };
        connection.pragma_update(None, "synchronous", level)
    }

    pub(crate) fn open_reader(
        &self,
        path: &Path,
        access: Access,
    ) -> Result<Connection, StoreError> {
        refuse_stub(path)?;
        let connection = self.connect_reader(path, access)?;
        if access != Access::Live && missing_bytes(path) > 0 {
            read_what_is_there(&connection).map_err(sql("open", path))?;
        }
        Ok(connection)
    }

    fn connect_reader(&self, path: &Path, access: Access) -> Result<Connection, StoreError> {
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY;
        match access {
            Access::Live => self.connect(path, flags),
            Access::Alone => {
                let connection = self.connect_by(path, flags, Some("unix-none"))?;
                // Before the WAL is looked at: SQLite then keeps its index in memory.
                connection
                    .set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)
                    .and_then(|_| {
                        let mode = "locking_mode";
                        connection.pragma_update_and_check(None, mode, "EXCLUSIVE", |_| Ok(()))
                    })
                    .map_err(sql("open", path))?;
                Ok(connection)
            }
            Access::Immutable | Access::Resting => {
                self.connect(&immutable_uri(path)?, flags | OpenFlags::SQLITE_OPEN_URI)
            }
        }
    }

    /// For a process that does not own the store: beside a writer if there is one, without leaving a trace if nobody
    /// writes, and without what is in the WAL only if that cannot be read in any way.
    pub fn open_as_possible(&self, path: &Path) -> Result<(Connection, Access), StoreError> {
        let first = Access::Resting.at_present(path);
        let connection = self.open_reader(path, first)?;
        let error = match probe(&connection) {
            Ok(()) => return Ok((connection, first)),
            Err(error) => error,
        };
        use rusqlite::ErrorCode::{CannotOpen, ReadOnly, SystemIoFailure};
        if first != Access::Live
            || !matches!(
                error.sqlite_error_code(),
                Some(CannotOpen | ReadOnly | SystemIoFailure)
            )
        {
            return Err(StoreError::sqlite("open", path, error));
        }
        drop(connection);
        let alone = self.open_reader(path, Access::Alone)?;
        if probe(&alone).is_ok() {
            return Ok((alone, Access::Alone));
        }
        let frozen = self.open_reader(path, Access::Immutable)?;
        probe(&frozen).map_err(sql("open", path))?;
        Ok((frozen, Access::Immutable))
    }

    fn connect(&self, path: &Path, flags: OpenFlags) -> Result<Connection, StoreError> {
        self.connect_by(path, flags, None)
    }

    fn connect_by(
        &self,
        path: &Path,
        flags: OpenFlags,
        vfs: Option<&str>,
    ) -> Result<Connection, StoreError> {
        let flags = flags | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let open = || {
            if let Some(vfs) = vfs {
                return Connection::open_with_flags_and_vfs(path, flags, vfs);
            }
            #[cfg(feature = "sabotage")]
            if let Some(vfs) = &self.sabotage.vfs {
                return Connection::open_with_flags_and_vfs(path, flags, vfs.as_str());
            }
            Connection::open_with_flags(path, flags)
        };
        let connection = open().map_err(sql("open", path))?;
        let set = || -> rusqlite::Result<()> {
            connection.busy_timeout(Duration::from_secs(5))?;
            connection.set_limit(Limit::SQLITE_LIMIT_LENGTH, VALUE_BYTES_MAX)?;
            connection.set_db_config(DbConfig::SQLITE_DBCONFIG_DEFENSIVE, true)?;
            connection.set_db_config(DbConfig::SQLITE_DBCONFIG_TRUSTED_SCHEMA, false)?;
            connection.pragma_update(None, "cell_size_check", true)?;
            connection.pragma_update(None, "mmap_size", 0)
        };
        set().map_err(sql("open", path))?;
        Ok(connection)
    }

    /// Makes a database under another name and renames it once it is whole and durable: a file that has its final
    /// name and cannot be read is damage, never an unfinished beginning.
    pub fn create(&self, path: &Path, kind: FileKind, tables: &str) -> Result<(), StoreError> {
        let new = with_suffix(path, ".new");
        for suffix in ["", "-journal", "-wal", "-shm"] {
            self.unlink(&with_suffix(&new, suffix))
                .map_err(file("create", path))?;
        }
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE;
        let connection = self.connect(&new, flags)?;
        let fill = || -> rusqlite::Result<()> {
            connection.pragma_update(None, "page_size", kind.page_bytes())?;
            connection.pragma_update_and_check(None, "journal_mode", "MEMORY", |_| Ok(()))?;
            self.set_synchronous(&connection, "FULL")?;
            let (id, version) = (kind.application_id(), FORMAT);
            connection.execute_batch(&format!(
                "BEGIN; PRAGMA application_id={id}; PRAGMA user_version={version}; {tables} COMMIT;"
            ))?;
            connection.pragma_update_and_check(None, "journal_mode", "WAL", |_| Ok(()))
        };
        fill().map_err(sql("create", path))?;
        connection
            .close()
            .map_err(|(_, error)| StoreError::sqlite("create", path, error))?;
        // SQLite would replay a stray WAL of that name.
        for suffix in ["-wal", "-shm"] {
            self.unlink(&with_suffix(path, suffix))
                .map_err(file("create", path))?;
        }
        self.rename(&new, path).map_err(file("create", path))?;
        let folder = path.parent().unwrap_or(path);
        self.sync_dir(folder).map_err(file("create", path))
    }

    pub fn sync_dir(&self, path: &Path) -> io::Result<()> {
        #[cfg(feature = "sabotage")]
        if self.sabotage.no_fsync {
            return Ok(());
        }
        #[cfg(feature = "sabotage")]
        if let Some(witness) = &self.sabotage.witness {
            return witness.sync_dir(path);
        }
        File::open(path)?.sync_all()
    }

    pub fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        #[cfg(feature = "sabotage")]
        if let Some(witness) = &self.sabotage.witness {
            witness.rename(from, to)?;
        }
        fs::rename(from, to)
    }

    /// A file that is not there is fine.
    pub(crate) fn unlink(&self, path: &Path) -> io::Result<()> {
        #[cfg(feature = "sabotage")]
        if let Some(witness) = &self.sabotage.witness {
            witness.unlink(path)?;
        }
        match fs::remove_file(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            Ok(()) | Err(_) => Ok(()),
        }
    }

    /// A database with what SQLite keeps beside it. The database goes last: without it the others mean nothing.
    pub fn unlink_database(&self, path: &Path) -> io::Result<()> {
        self.unlink_beside(path)?;
        self.unlink(path)
    }

    /// What SQLite keeps beside a database, and not the database: of one that is replaced.
    pub fn unlink_beside(&self, path: &Path) -> io::Result<()> {
        for suffix in ["-shm", "-wal"] {
            self.unlink(&with_suffix(path, suffix))?;
        }
        Ok(())
    }

    /// Moves a damaged database, with its WAL, where nothing reads it and nothing deletes it. Gives the new path.
    pub fn set_aside(&self, root: &Path, path: &Path) -> Result<PathBuf, StoreError> {
        let folder = root.join("set-aside");
        fs::create_dir_all(&folder).map_err(file("create", &folder))?;
        let name = path
            .strip_prefix(root)
            .unwrap_or(path)
            .to_string_lossy()
            .replace('/', "-");
        let taken = |candidate: &Path| {
            ["", "-wal"]
                .iter()
                .any(|suffix| with_suffix(candidate, suffix).exists())
        };
        let target = (0u32..)
            .map(|count| match count {
                0 => folder.join(&name),
                _ => folder.join(format!("{name}.{count}")),
            })
            .find(|candidate| !taken(candidate))
            .unwrap_or_else(|| folder.join(&name));
        // The database first: without its WAL it could pass for whole. A WAL left alone is moved by the next start.
        for suffix in ["", "-wal"] {
            let from = with_suffix(path, suffix);
            if from.exists() {
                self.rename(&from, &with_suffix(&target, suffix))
                    .map_err(file("set aside", &from))?;
            }
        }
        self.unlink(&with_suffix(path, "-shm"))
            .map_err(file("set aside", path))?;
        for folder in [path.parent().unwrap_or(root), &folder] {
            self.sync_dir(folder).map_err(file("set aside", path))?;
        }
        Ok(target)
    }
}

/// Beside a database of no length SQLite deletes the WAL, even where it may only read: what is still in it must stay.
/// No database here is ever so short.
fn refuse_stub(path: &Path) -> Result<(), StoreError> {
    match fs::metadata(path) {
        Ok(metadata) if metadata.len() < HEADER_BYTES as u64 => Err(StoreError::Damaged {
            path: path.to_owned(),
            reason: TOO_SHORT.into(),
        }),
        Ok(_) | Err(_) => Ok(()),
    }
}

/// How many bytes a file is shorter than its header says: cut off by a power failure or a copy that was interrupted. What
/// the header says counts if it was written last by a program that knows the field (SQLite, "Database File Format" 1.3.8).
pub(crate) fn missing_bytes(path: &Path) -> u64 {
    let read = || -> io::Result<u64> {
        let mut file = File::open(path)?;
        let mut header = [0; HEADER_BYTES];
        file.read_exact(&mut header)?;
        let be = |at: usize| {
            let bytes = [header[at], header[at + 1], header[at + 2], header[at + 3]];
            u64::from(u32::from_be_bytes(bytes))
        };
        let page_bytes = match u64::from(u16::from_be_bytes([header[16], header[17]])) {
            1 => 65_536,
            bytes => bytes,
        };
        let stated = be(28) * page_bytes;
        let counts = be(24) == be(92);
        let missing = stated.saturating_sub(file.metadata()?.len());
        Ok(if counts { missing } else { 0 })
    };
    read().unwrap_or(0)
}

/// SQLite refuses such a file as a whole, but for a connection that may repair it by hand. Ours can only read.
fn read_what_is_there(connection: &Connection) -> rusqlite::Result<()> {
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_DEFENSIVE, false)?;
    connection.pragma_update(None, "writable_schema", true)
}

/// SQLite opens files when they are first read.
fn probe(connection: &Connection) -> rusqlite::Result<()> {
    connection.query_row("SELECT count(*) FROM sqlite_schema", [], |_| Ok(()))
}

/// What the first bytes of a file say, without SQLite.
#[derive(Debug, PartialEq, Eq)]
pub enum Header {
    Ours,
    TooNew(i64),
    Wrong(&'static str),
}

pub fn read_header(path: &Path, kind: FileKind) -> io::Result<Header> {
    let mut header = [0; HEADER_BYTES];
    if let Err(error) = File::open(path)?.read_exact(&mut header) {
        return if error.kind() == io::ErrorKind::UnexpectedEof {
            Ok(Header::Wrong(TOO_SHORT))
        } else {
            Err(error)
        };
    }
    let be = |at: usize| {
        i64::from(u32::from_be_bytes([
            header[at],
            header[at + 1],
            header[at + 2],
            header[at + 3],
        ]))
    };
    Ok(if &header[..16] != b"SQLite format 3\0" {
        Header::Wrong("not an SQLite database")
    } else if be(68) != kind.application_id() {
        Header::Wrong("the application id is not ours")
    } else if be(60) > FORMAT {
        Header::TooNew(be(60))
    } else {
        Header::Ours
    })
}

/// Copies the WAL into the database as far as readers allow; `true` when all of it was.
pub fn checkpoint(connection: &Connection, mode: &str) -> rusqlite::Result<bool> {
    let statement = format!("PRAGMA wal_checkpoint({mode})");
    connection.query_row(&statement, [], |row| {
        let (busy, in_wal, copied): (i64, i64, i64) = (row.get(0)?, row.get(1)?, row.get(2)?);
        Ok(busy == 0 && in_wal == copied)
    })
}

pub fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

pub fn file_bytes(path: &Path) -> u64 {
    fs::metadata(path).map_or(0, |metadata| metadata.len())
}

/// Of a database with its WAL.
pub fn database_bytes(path: &Path) -> u64 {
    file_bytes(path) + file_bytes(&with_suffix(path, "-wal"))
}

/// Whether a WAL with content stands beside the database.
pub(crate) fn has_wal(path: &Path) -> bool {
    file_bytes(&with_suffix(path, "-wal")) > 0
}

fn immutable_uri(path: &Path) -> Result<PathBuf, StoreError> {
    let path = std::path::absolute(path).map_err(file("open", path))?;
    let mut uri = "file:".to_owned();
    for &byte in path.as_os_str().as_encoded_bytes() {
        match byte {
            b'/' | b'-' | b'_' | b'.' | b'0'..=b'9' | b'A'..=b'Z' | b'a'..=b'z' => {
                uri.push(char::from(byte));
            }
            _ => uri.push_str(&format!("%{byte:02x}")),
        }
    }
    uri.push_str("?immutable=1&mode=ro");
    Ok(uri.into())
}
