//! The `unsafe` half: SQLite's C interface, passed on to its unix VFS.

use std::ffi::{CStr, CString, c_char, c_int, c_void};
use std::path::{Path, PathBuf};
use std::ptr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use rusqlite::ffi::{
    SQLITE_CANTOPEN, SQLITE_FULL, SQLITE_IOERR, SQLITE_IOERR_DELETE, SQLITE_IOERR_FSYNC,
    SQLITE_IOERR_TRUNCATE, SQLITE_IOERR_WRITE, SQLITE_OK, SQLITE_OPEN_MAIN_DB, SQLITE_OPEN_WAL,
    sqlite3_file, sqlite3_filename, sqlite3_int64, sqlite3_io_methods, sqlite3_vfs,
    sqlite3_vfs_find, sqlite3_vfs_register, sqlite3_vfs_unregister,
};

use super::{Failure, Kind, Pending, Shared};

/// A VFS that SQLite knows as long as this lives.
#[derive(Debug)]
pub(super) struct Registered {
    vfs: *mut sqlite3_vfs,
    name: String,
}

// SAFETY: the VFS behind the pointer is only read after it is registered, and SQLite calls it from any thread anyway.
unsafe impl Send for Registered {}
// SAFETY: as above.
unsafe impl Sync for Registered {}

struct AppData {
    shared: Arc<Shared>,
    real: *mut sqlite3_vfs,
    /// SQLite keeps a pointer to it.
    _name: CString,
}

impl Registered {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        let name = format!("crash-{}", NEXT.fetch_add(1, Ordering::Relaxed));
        let c_name = CString::new(name.clone()).unwrap();
        // SAFETY: "unix" is a constant, SQLite initialises itself on this call, and the answer is checked.
        let real = unsafe { sqlite3_vfs_find(c"unix".as_ptr()) };
        assert!(!real.is_null(), "no unix VFS");
        // SAFETY: SQLite's own, valid for the life of the process, never changed after its registration.
        let mut vfs = unsafe { *real };
        vfs.zName = c_name.as_ptr();
        vfs.szOsFile += size_of::<File>() as c_int;
        vfs.pNext = ptr::null_mut();
        vfs.xOpen = Some(open);
        vfs.xDelete = Some(delete);
        vfs.pAppData = Box::into_raw(Box::new(AppData {
            shared,
            real,
            _name: c_name,
        }))
        .cast();
        let vfs = Box::into_raw(Box::new(vfs));
        // SAFETY: both live until `drop` unregisters the VFS.
        let code = unsafe { sqlite3_vfs_register(vfs, 0) };
        assert_eq!(code, SQLITE_OK);
        Self { vfs, name }
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }
}

impl Drop for Registered {
    fn drop(&mut self) {
        // SAFETY: made by `new` from boxes; the tests close every connection before they drop their disk.
        unsafe {
            sqlite3_vfs_unregister(self.vfs);
            let vfs = Box::from_raw(self.vfs);
            drop(Box::from_raw(vfs.pAppData.cast::<AppData>()));
        }
    }
}

/// What SQLite allocates for a file of ours; the unix VFS's own follows it in memory.
#[repr(C)]
struct File {
    base: sqlite3_file,
    app: *const AppData,
    /// Null for what is not tracked: temporary files.
    path: *mut PathBuf,
}

const _: () = assert!(size_of::<File>().is_multiple_of(16) || size_of::<File>().is_multiple_of(8));

/// # Safety
/// `file` was filled by [`open`].
unsafe fn real(file: *mut sqlite3_file) -> *mut sqlite3_file {
    // SAFETY: SQLite allocated `szOsFile` bytes, which are a `File` and then the unix VFS's.
    unsafe { file.cast::<File>().add(1).cast() }
}

/// Calls a method of the unix VFS's file.
macro_rules! pass {
    ($file:expr, $method:ident $(, $argument:expr)*) => {{
        let real = real($file);
        match (*(*real).pMethods).$method {
            Some(method) => method(real $(, $argument)*),
            None => SQLITE_IOERR,
        }
    }};
}

/// # Safety
/// `file` was filled by [`open`] and is not yet closed.
unsafe fn tracked<'a>(file: *mut sqlite3_file) -> Option<(&'a Shared, &'a Path)> {
    // SAFETY: `app` lives as long as the VFS, `path` until `close`.
    unsafe {
        let file = file.cast::<File>();
        let path = (*file).path.as_ref()?;
        Some((&(*(*file).app).shared, path.as_path()))
    }
}

unsafe extern "C" fn open(
    vfs: *mut sqlite3_vfs,
    name: sqlite3_filename,
    file: *mut sqlite3_file,
    flags: c_int,
    out_flags: *mut c_int,
) -> c_int {
    // SAFETY: SQLite's contract of xOpen: `name` is null or a string, `file` has `szOsFile` bytes.
    unsafe {
        let app = (*vfs).pAppData.cast::<AppData>();
        let ours = file.cast::<File>();
        (*ours).base.pMethods = ptr::null();
        (*ours).app = app;
        (*ours).path = ptr::null_mut();
        if (*app).shared.is_off() {
            return SQLITE_CANTOPEN;
        }
        let path = (!name.is_null() && flags & (SQLITE_OPEN_MAIN_DB | SQLITE_OPEN_WAL) != 0)
            .then(|| PathBuf::from(CStr::from_ptr(name).to_str().unwrap_or_default()));
        let existed = path.as_ref().is_some_and(|path| path.exists());
        let Some(open) = (*(*app).real).xOpen else {
            return SQLITE_CANTOPEN;
        };
        let code = open((*app).real, name, real(file), flags, out_flags);
        if code != SQLITE_OK {
            return code;
        }
        if let Some(path) = path {
            let content = || std::fs::read(&path).unwrap_or_default();
            (*app).shared.state().open(&path, existed, content);
            (*ours).path = Box::into_raw(Box::new(path));
        }
        (*ours).base.pMethods = &METHODS;
        SQLITE_OK
    }
}

unsafe extern "C" fn delete(vfs: *mut sqlite3_vfs, name: *const c_char, sync: c_int) -> c_int {
    // SAFETY: SQLite's contract of xDelete.
    unsafe {
        let app = (*vfs).pAppData.cast::<AppData>();
        let path = PathBuf::from(CStr::from_ptr(name).to_str().unwrap_or_default());
        let mut state = (*app).shared.state();
        if state.begin(Kind::Other).is_err() {
            return SQLITE_IOERR_DELETE;
        }
        state.delete(&path, sync != 0);
        drop(state);
        match (*(*app).real).xDelete {
            Some(delete) => delete((*app).real, name, 0),
            None => SQLITE_IOERR_DELETE,
        }
    }
}

static METHODS: sqlite3_io_methods = sqlite3_io_methods {
    iVersion: 2,
    xClose: Some(close),
    xRead: Some(read),
    xWrite: Some(write),
    xTruncate: Some(truncate),
    xSync: Some(sync),
    xFileSize: Some(file_size),
    xLock: Some(lock),
    xUnlock: Some(unlock),
    xCheckReservedLock: Some(check_reserved_lock),
    xFileControl: Some(file_control),
    xSectorSize: Some(sector_size),
    xDeviceCharacteristics: Some(device_characteristics),
    xShmMap: Some(shm_map),
    xShmLock: Some(shm_lock),
    xShmBarrier: Some(shm_barrier),
    xShmUnmap: Some(shm_unmap),
    xFetch: None,
    xUnfetch: None,
};

unsafe extern "C" fn close(file: *mut sqlite3_file) -> c_int {
    // SAFETY: SQLite closes a file once, after its last use.
    unsafe {
        let ours = file.cast::<File>();
        if !(*ours).path.is_null() {
            drop(Box::from_raw((*ours).path));
            (*ours).path = ptr::null_mut();
        }
        pass!(file, xClose)
    }
}

unsafe extern "C" fn write(
    file: *mut sqlite3_file,
    data: *const c_void,
    bytes: c_int,
    at: sqlite3_int64,
) -> c_int {
    // SAFETY: SQLite's contract of xWrite: `data` has `bytes` bytes.
    unsafe {
        let Some((shared, path)) = tracked(file) else {
            return pass!(file, xWrite, data, bytes, at);
        };
        let change = || Pending::Write {
            at: at as usize,
            data: std::slice::from_raw_parts(data.cast(), bytes as usize).to_vec(),
        };
        let mut state = shared.state();
        match state.begin(Kind::Grow) {
            Ok(()) => {}
            Err(Failure::Full) => return SQLITE_FULL,
            Err(Failure::PowerIsOff | Failure::Io) => {
                if state.is_interrupted() {
                    state.pend(path, change());
                }
                return SQLITE_IOERR_WRITE;
            }
        }
        state.pend(path, change());
        drop(state);
        pass!(file, xWrite, data, bytes, at)
    }
}

unsafe extern "C" fn truncate(file: *mut sqlite3_file, bytes: sqlite3_int64) -> c_int {
    // SAFETY: SQLite's contract of xTruncate.
    unsafe {
        if let Some((shared, path)) = tracked(file) {
            let mut state = shared.state();
            if state.begin(Kind::Other).is_err() {
                return SQLITE_IOERR_TRUNCATE;
            }
            let bytes = bytes as usize;
            state.pend(path, Pending::Truncate { bytes });
        }
        pass!(file, xTruncate, bytes)
    }
}

unsafe extern "C" fn sync(file: *mut sqlite3_file, flags: c_int) -> c_int {
    // SAFETY: SQLite's contract of xSync. The real disk is not waited for: this layer is the disk.
    unsafe {
        let Some((shared, path)) = tracked(file) else {
            return pass!(file, xSync, flags);
        };
        let mut state = shared.state();
        if state.begin(Kind::Other).is_err() {
            return SQLITE_IOERR_FSYNC;
        }
        state.sync(path);
        SQLITE_OK
    }
}

unsafe extern "C" fn read(
    file: *mut sqlite3_file,
    to: *mut c_void,
    bytes: c_int,
    at: sqlite3_int64,
) -> c_int {
    // SAFETY: SQLite's contract, passed on.
    unsafe { pass!(file, xRead, to, bytes, at) }
}

unsafe extern "C" fn file_size(file: *mut sqlite3_file, bytes: *mut sqlite3_int64) -> c_int {
    // SAFETY: SQLite's contract, passed on.
    unsafe { pass!(file, xFileSize, bytes) }
}

unsafe extern "C" fn lock(file: *mut sqlite3_file, level: c_int) -> c_int {
    // SAFETY: SQLite's contract, passed on.
    unsafe { pass!(file, xLock, level) }
}

unsafe extern "C" fn unlock(file: *mut sqlite3_file, level: c_int) -> c_int {
    // SAFETY: SQLite's contract, passed on.
    unsafe { pass!(file, xUnlock, level) }
}

unsafe extern "C" fn check_reserved_lock(file: *mut sqlite3_file, out: *mut c_int) -> c_int {
    // SAFETY: SQLite's contract, passed on.
    unsafe { pass!(file, xCheckReservedLock, out) }
}

unsafe extern "C" fn file_control(file: *mut sqlite3_file, op: c_int, arg: *mut c_void) -> c_int {
    // SAFETY: SQLite's contract, passed on.
    unsafe { pass!(file, xFileControl, op, arg) }
}

unsafe extern "C" fn sector_size(file: *mut sqlite3_file) -> c_int {
    // SAFETY: SQLite's contract, passed on.
    unsafe { pass!(file, xSectorSize) }
}

unsafe extern "C" fn device_characteristics(file: *mut sqlite3_file) -> c_int {
    // SAFETY: SQLite's contract, passed on.
    unsafe { pass!(file, xDeviceCharacteristics) }
}

unsafe extern "C" fn shm_map(
    file: *mut sqlite3_file,
    page: c_int,
    bytes: c_int,
    extend: c_int,
    out: *mut *mut c_void,
) -> c_int {
    // SAFETY: SQLite's contract, passed on.
    unsafe { pass!(file, xShmMap, page, bytes, extend, out) }
}

unsafe extern "C" fn shm_lock(
    file: *mut sqlite3_file,
    offset: c_int,
    count: c_int,
    flags: c_int,
) -> c_int {
    // SAFETY: SQLite's contract, passed on.
    unsafe { pass!(file, xShmLock, offset, count, flags) }
}

unsafe extern "C" fn shm_barrier(file: *mut sqlite3_file) {
    // SAFETY: SQLite's contract, passed on.
    unsafe {
        let real = real(file);
        if let Some(barrier) = (*(*real).pMethods).xShmBarrier {
            barrier(real);
        }
    }
}

unsafe extern "C" fn shm_unmap(file: *mut sqlite3_file, delete: c_int) -> c_int {
    // SAFETY: SQLite's contract, passed on.
    unsafe { pass!(file, xShmUnmap, delete) }
}
