//! The system calls. Everything here may run between fork and exec: no allocation, no locks.

use std::ffi::CString;
use std::io;
use std::mem;
use std::os::fd::RawFd;

/// How this user makes a namespace; made before a fork, carried out after it.
#[derive(Debug)]
pub(super) struct Plan {
    flags: libc::c_int,
    /// Contents of `uid_map` and `gid_map`: the real ids appear as root inside, so that an exec keeps capabilities.
    maps: Option<(CString, CString)>,
}

impl Plan {
    pub(super) fn for_this_user() -> Self {
        // SAFETY: neither call reads memory of ours or can fail.
        let (user, group) = unsafe { (libc::geteuid(), libc::getegid()) };
        if user == 0 {
            return Self::network_only();
        }
        let map = |id: u32| CString::new(format!("0 {id} 1")).unwrap_or_default();
        Self {
            flags: libc::CLONE_NEWUSER | libc::CLONE_NEWNET,
            maps: Some((map(user), map(group))),
        }
    }

    pub(super) fn network_only() -> Self {
        Self {
            flags: libc::CLONE_NEWNET,
            maps: None,
        }
    }

    pub(super) fn makes_user_namespace(&self) -> bool {
        self.maps.is_some()
    }

    /// Leaves the present network.
    pub(super) fn unshare(&self) -> io::Result<()> {
        // SAFETY: unshare reads no memory of ours.
        check(unsafe { libc::unshare(self.flags) })?;
        if let Some((users, groups)) = &self.maps {
            // The kernel lets an ordinary user map groups only after giving up setgroups.
            write_file(c"/proc/self/setgroups", c"deny")?;
            write_file(c"/proc/self/uid_map", users)?;
            write_file(c"/proc/self/gid_map", groups)?;
        }
        Ok(())
    }

    /// Loopback up with multicast, and the multicast range routed to it.
    pub(super) fn set_up(&self) -> io::Result<()> {
        // SAFETY: socket takes integers; the descriptor is closed below.
        let socket = check(unsafe {
            libc::socket(libc::AF_INET, libc::SOCK_DGRAM | libc::SOCK_CLOEXEC, 0)
        })?;
        let done = loopback_up(socket).and_then(|()| route_multicast(socket));
        // SAFETY: ours, and not used again.
        unsafe { libc::close(socket) };
        done
    }
}

/// Moves the calling thread into the namespace behind a descriptor.
pub(super) fn join(namespace: RawFd, kind: libc::c_int) -> io::Result<()> {
    // SAFETY: setns takes integers.
    check(unsafe { libc::setns(namespace, kind) }).map(drop)
}

const LOOPBACK: &[u8] = b"lo\0";

fn loopback_up(socket: RawFd) -> io::Result<()> {
    // SAFETY: a C structure of integers and byte arrays, for which zero is a value.
    let mut request: libc::ifreq = unsafe { mem::zeroed() };
    for (to, from) in request.ifr_name.iter_mut().zip(LOOPBACK) {
        *to = from.cast_signed();
    }
    #[expect(
        clippy::cast_possible_truncation,
        reason = "the flags of an interface are 16 bits wide in this call"
    )]
    let flags = (libc::IFF_UP | libc::IFF_LOOPBACK | libc::IFF_MULTICAST) as libc::c_short;
    request.ifr_ifru.ifru_flags = flags;
    // SAFETY: the request lives through the call and is what SIOCSIFFLAGS reads.
    check(unsafe { libc::ioctl(socket, libc::SIOCSIFFLAGS, &raw const request) }).map(drop)
}

/// `struct rtentry` of the kernel, which the libc crate lacks for glibc.
#[repr(C)]
struct Route {
    pad1: libc::c_ulong,
    destination: libc::sockaddr_in,
    gateway: libc::sockaddr_in,
    mask: libc::sockaddr_in,
    flags: libc::c_ushort,
    pad2: libc::c_short,
    pad3: libc::c_ulong,
    pad4: *mut libc::c_void,
    metric: libc::c_short,
    device: *const u8,
    mtu: libc::c_ulong,
    window: libc::c_ulong,
    irtt: libc::c_ushort,
}

const ROUTE_UP: libc::c_ushort = 1;

fn route_multicast(socket: RawFd) -> io::Result<()> {
    // SAFETY: a C structure of integers and pointers, for which zero is a value.
    let mut route: Route = unsafe { mem::zeroed() };
    route.destination = address([224, 0, 0, 0]);
    route.mask = address([240, 0, 0, 0]);
    route.flags = ROUTE_UP;
    route.device = LOOPBACK.as_ptr();
    // SAFETY: the route, and the name it points to, live through the call; SIOCADDRT only reads them.
    check(unsafe { libc::ioctl(socket, libc::SIOCADDRT, &raw const route) }).map(drop)
}

fn address(bytes: [u8; 4]) -> libc::sockaddr_in {
    libc::sockaddr_in {
        sin_family: libc::AF_INET as libc::sa_family_t,
        sin_port: 0,
        sin_addr: libc::in_addr {
            s_addr: u32::from_ne_bytes(bytes),
        },
        sin_zero: [0; 8],
    }
}

fn write_file(path: &std::ffi::CStr, content: &std::ffi::CStr) -> io::Result<()> {
    // SAFETY: both strings end in NUL and live through the calls; the descriptor is closed here.
    unsafe {
        let file = check(libc::open(path.as_ptr(), libc::O_WRONLY | libc::O_CLOEXEC))?;
        let written = libc::write(file, content.as_ptr().cast(), content.count_bytes());
        let error = io::Error::last_os_error();
        libc::close(file);
        if written == content.count_bytes().cast_signed() {
            Ok(())
        } else {
            Err(error)
        }
    }
}

fn check(result: libc::c_int) -> io::Result<libc::c_int> {
    if result == -1 {
        Err(io::Error::last_os_error())
    } else {
        Ok(result)
    }
}
