//! NCCL, where several cards compute one model: sums over all of them. It is looked for when it is needed, as the driver
//! is, by a few bindings of our own: the bindings crate looks for `libnccl.so` only, which NVIDIA's packages leave out,
//! and takes a result that a later version adds for one of its own.
//!
//! Each rank calls for itself, in one thread at a time. Nothing here waits for another rank without looking whether it is
//! still there: that is what [`Communicator::state`] is for.

use std::ffi::{CStr, c_char, c_int, c_void};
use std::sync::{Arc, OnceLock};

use cudarc::driver::sys::CUstream;

use super::super::DeviceError;

/// The least version, as `ncclGetVersion` counts: 2.22.
const LEAST_VERSION: c_int = 22_200;

/// The only major version that the bindings are of.
const MAJOR: c_int = 2;

const SUCCESS: c_int = 0;
/// What runs meanwhile is no error.
const IN_PROGRESS: c_int = 7;
/// `ncclFloat32`.
const FLOAT: c_int = 7;
/// `ncclSum`.
const SUM: c_int = 0;

type Handle = *mut c_void;

/// What ranks find each other by.
#[derive(Clone, Copy)]
#[repr(C)]
pub(super) struct UniqueId([c_char; 128]);

/// The library. Results are plain numbers.
pub(super) struct Nccl {
    get_unique_id: unsafe extern "C" fn(*mut UniqueId) -> c_int,
    init_rank: unsafe extern "C" fn(*mut Handle, c_int, UniqueId, c_int) -> c_int,
    all_reduce:
        unsafe extern "C" fn(*const c_void, *mut c_void, usize, c_int, c_int, Handle, CUstream) -> c_int,
    async_error: unsafe extern "C" fn(Handle, *mut c_int) -> c_int,
    abort: unsafe extern "C" fn(Handle) -> c_int,
    error_string: unsafe extern "C" fn(c_int) -> *const c_char,
    /// Held while its functions are.
    _library: libloading::Library,
}

impl Nccl {
    /// Looks for the library.
    pub(super) fn open() -> Result<Self, DeviceError> {
        let act = "opening NCCL";
        // SAFETY: loading a library runs its own code, as for every program that uses it.
        let found = ["libnccl.so.2", "libnccl.so"]
            .into_iter()
            .find_map(|name| unsafe { libloading::Library::new(name) }.ok());
        let library = found.ok_or_else(|| DeviceError::Failed {
            act,
            problem: "libnccl.so.2 was not found, and several cards need it: install NCCL 2 (libnccl2), or mount it and \
                      let LD_LIBRARY_PATH name its folder"
                .to_owned(),
        })?;
        let missing = |error: libloading::Error| DeviceError::Failed { act, problem: error.to_string() };
        // SAFETY: the types are those of NCCL 2's header, for every version of it.
        unsafe {
            let version: unsafe extern "C" fn(*mut c_int) -> c_int =
                *library.get(b"ncclGetVersion\0").map_err(missing)?;
            let mut found = 0;
            version(&raw mut found);
            supported(found).map_err(|problem| DeviceError::Failed { act, problem })?;
            Ok(Self {
                get_unique_id: *library.get(b"ncclGetUniqueId\0").map_err(missing)?,
                init_rank: *library.get(b"ncclCommInitRank\0").map_err(missing)?,
                all_reduce: *library.get(b"ncclAllReduce\0").map_err(missing)?,
                async_error: *library.get(b"ncclCommGetAsyncError\0").map_err(missing)?,
                abort: *library.get(b"ncclCommAbort\0").map_err(missing)?,
                error_string: *library.get(b"ncclGetErrorString\0").map_err(missing)?,
                _library: library,
            })
        }
    }

    /// An identifier for a group of ranks, which one of them makes.
    pub(super) fn unique_id(&self) -> Result<UniqueId, DeviceError> {
        let mut id = UniqueId([0; 128]);
        // SAFETY: fills the 128 bytes.
        self.checked("meeting the other cards", unsafe { (self.get_unique_id)(&raw mut id) })?;
        Ok(id)
    }

    fn checked(&self, act: &'static str, result: c_int) -> Result<(), DeviceError> {
        if result == SUCCESS {
            return Ok(());
        }
        // SAFETY: gives a text of the library's own, for any number.
        let words = unsafe { CStr::from_ptr((self.error_string)(result)) }.to_string_lossy().into_owned();
        Err(DeviceError::Lost { act, problem: format!("NCCL: {words} ({result})") })
    }
}

/// Whether this version is of use; if not, why.
fn supported(version: c_int) -> Result<(), String> {
    // Up to 2.8 a version had a digit less.
    let of_major = if version < 10_000 { 1_000 } else { 10_000 };
    let (major, minor) = (version / of_major, version % of_major / 100);
    if major == MAJOR && version >= LEAST_VERSION {
        return Ok(());
    }
    Err(format!("NCCL is version {major}.{minor} ({version}), and 2.22 or a later 2 is needed"))
}

/// Why a group computes no more: the first rank that fails says it, and all others look.
#[derive(Debug, Default)]
pub(super) struct Group(OnceLock<String>);

/// One rank's end of a group.
pub(super) struct Communicator {
    nccl: Arc<Nccl>,
    group: Arc<Group>,
    handle: Handle,
    rank: usize,
}

impl Communicator {
    /// Joins the `of` ranks of `group`, which find each other by `id`, as `rank`. The card's context is the thread's. Waits
    /// for the others.
    pub(super) fn join(
        nccl: &Arc<Nccl>,
        id: UniqueId,
        rank: usize,
        of: usize,
        group: &Arc<Group>,
    ) -> Result<Self, DeviceError> {
        let mut handle: Handle = std::ptr::null_mut();
        // SAFETY: writes the handle; the current context is a card's.
        let joined = unsafe { (nccl.init_rank)(&raw mut handle, of as c_int, id, rank as c_int) };
        nccl.checked("joining the other cards", joined).inspect_err(|error| {
            group.0.get_or_init(|| format!("rank {rank} failed: {error}"));
        })?;
        Ok(Self { nccl: Arc::clone(nccl), group: Arc::clone(group), handle, rank })
    }

    /// Sums `count` floats from `at` on over all ranks, in place, as `stream` comes to it.
    pub(super) fn all_reduce(&self, at: u64, count: usize, stream: CUstream) -> Result<(), DeviceError> {
        self.state()?;
        // SAFETY: the handle is alive, which `state` says; the device trait's contract on addresses.
        let given = unsafe {
            (self.nccl.all_reduce)(
                at as *const c_void,
                at as *mut c_void,
                count,
                FLOAT,
                SUM,
                self.handle,
                stream,
            )
        };
        self.nccl.checked(ADDING, given)
    }

    /// An error where the group computes no more.
    pub(super) fn state(&self) -> Result<(), DeviceError> {
        if let Some(problem) = self.group.0.get() {
            return Err(DeviceError::Lost { act: ADDING, problem: problem.clone() });
        }
        let mut said = SUCCESS;
        // SAFETY: the handle is alive: it is null only after the group's end was said.
        self.nccl.checked(ADDING, unsafe { (self.nccl.async_error)(self.handle, &raw mut said) })?;
        if said == IN_PROGRESS { Ok(()) } else { self.nccl.checked(ADDING, said) }
    }

    /// Ends the group: others learn `problem` as they look, and what this rank's card still adds up ends.
    pub(super) fn abandon(&mut self, problem: &str) {
        self.group.0.get_or_init(|| format!("rank {} failed: {problem}", self.rank));
        if !self.handle.is_null() {
            // SAFETY: alive, and never used again.
            unsafe { (self.nccl.abort)(self.handle) };
            self.handle = std::ptr::null_mut();
        }
    }
}

/// What is done where ranks meet.
const ADDING: &str = "adding up over all cards";

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    /// Sums that were begun, communicators that were aborted, and the one that says that it failed, if any.
    static SUMS: AtomicUsize = AtomicUsize::new(0);
    static ABORTED: AtomicUsize = AtomicUsize::new(0);
    static FAILED: AtomicUsize = AtomicUsize::new(0);

    unsafe extern "C" fn get_unique_id(_: *mut UniqueId) -> c_int {
        SUCCESS
    }

    unsafe extern "C" fn init_rank(handle: *mut Handle, of: c_int, _: UniqueId, rank: c_int) -> c_int {
        // SAFETY: the caller's place for it.
        unsafe { *handle = (rank as usize + 1) as Handle };
        if of == 0 { 4 } else { SUCCESS }
    }

    unsafe extern "C" fn all_reduce(
        from: *const c_void,
        to: *mut c_void,
        _: usize,
        kind: c_int,
        operation: c_int,
        handle: Handle,
        _: CUstream,
    ) -> c_int {
        assert!(std::ptr::eq(from, to) && (kind, operation) == (7, 0) && !handle.is_null());
        SUMS.fetch_add(1, Ordering::Relaxed);
        SUCCESS
    }

    unsafe extern "C" fn async_error(handle: Handle, said: *mut c_int) -> c_int {
        let failed = handle as usize == FAILED.load(Ordering::Relaxed);
        // SAFETY: the caller's place for it.
        unsafe { *said = if failed { 6 } else { IN_PROGRESS } };
        SUCCESS
    }

    unsafe extern "C" fn abort(handle: Handle) -> c_int {
        assert!(!handle.is_null());
        ABORTED.fetch_add(1, Ordering::Relaxed);
        SUCCESS
    }

    unsafe extern "C" fn error_string(_: c_int) -> *const c_char {
        c"remote process exited".as_ptr()
    }

    fn fake() -> Arc<Nccl> {
        let library = libloading::os::unix::Library::this().into();
        Arc::new(Nccl {
            get_unique_id,
            init_rank,
            all_reduce,
            async_error,
            abort,
            error_string,
            _library: library,
        })
    }

    #[test]
    fn a_rank_that_fails_is_every_ranks_end_and_nccl_is_told_once_by_each() {
        let (nccl, group) = (fake(), Arc::new(Group::default()));
        let id = nccl.unique_id().unwrap();
        let join = |rank| Communicator::join(&nccl, id, rank, 3, &group).unwrap();
        let mut ranks = [join(0), join(1), join(2)];
        let sum = |rank: &Communicator| rank.all_reduce(64, 2, std::ptr::null_mut());
        ranks.iter().for_each(|rank| sum(rank).unwrap());
        assert_eq!(SUMS.load(Ordering::Relaxed), 3);
        FAILED.store(2, Ordering::Relaxed);
        assert!(ranks[0].state().is_ok());
        let error = ranks[1].state().unwrap_err().to_string();
        assert!(error.ends_with("NCCL: remote process exited (6)"), "{error}");
        ranks[1].abandon("its fan stands still");
        for rank in &mut ranks {
            for said in [rank.state(), sum(rank)] {
                let said = said.unwrap_err().to_string();
                assert!(said.ends_with("rank 1 failed: its fan stands still"), "{said}");
            }
            rank.abandon("it is gone");
            rank.abandon("it is gone");
        }
        assert_eq!((SUMS.load(Ordering::Relaxed), ABORTED.load(Ordering::Relaxed)), (3, 3));
    }

    #[test]
    fn a_rank_that_does_not_join_tells_the_others() {
        let (nccl, group) = (fake(), Arc::new(Group::default()));
        let id = nccl.unique_id().unwrap();
        assert!(Communicator::join(&nccl, id, 1, 0, &group).is_err());
        assert!(group.0.get().is_some_and(|problem| problem.starts_with("rank 1 failed: ")));
    }

    #[test]
    fn a_version_that_is_of_no_use_is_named() {
        assert_eq!((supported(22_200), supported(23_005)), (Ok(()), Ok(())));
        let old = "NCCL is version 2.19 (21903), and 2.22 or a later 2 is needed";
        assert_eq!(supported(21_903).unwrap_err(), old);
        assert!(supported(2_708).unwrap_err().starts_with("NCCL is version 2.7"));
        assert!(supported(30_000).unwrap_err().starts_with("NCCL is version 3.0"));
    }
}
