//! The system calls of the sandbox that rustix has not, or has as unsafe.
#![allow(unsafe_code)]

use std::io;

use rustix::fd::AsRawFd;
use rustix::process::Pid;
use rustix::thread::UnshareFlags;

/// The first of `linux/personality.h`; the libc crate leaves it out.
const PER_LINUX: libc::c_ulong = 0;

/// Enters new namespaces. Takes no `UnshareFlags::FILES` or `FS`: what it changes, no thread relies on.
pub fn unshare_namespaces() -> rustix::io::Result<()> {
    let flags = UnshareFlags::NEWUSER
        | UnshareFlags::NEWNS
        | UnshareFlags::NEWPID
        | UnshareFlags::NEWNET
        | UnshareFlags::NEWIPC
        | UnshareFlags::NEWUTS
        | UnshareFlags::NEWCGROUP;
    // SAFETY: the one hazard that rustix names is `UnshareFlags::FILES`, which is not among the flags.
    unsafe { rustix::thread::unshare_unsafe(flags) }
}

/// Forks: the child's id for the parent, none for the child. Only after [`unshare_namespaces`] has succeeded.
pub fn fork() -> io::Result<Option<Pid>> {
    // SAFETY: what makes `fork` dangerous is another thread that holds a lock, of the allocator say, which in
    // the child nobody would ever release. There is no other thread: the kernel refuses a new user namespace to
    // a process with threads, and ours was granted. No handler of a signal is installed, and what is buffered
    // to be written is nothing, so nothing is written twice. The C library's own `fork`, not the bare
    // system call, so that it knows its new thread id.
    match unsafe { libc::fork() } {
        -1 => Err(io::Error::last_os_error()),
        0 => Ok(None),
        child => Ok(Pid::from_raw(child)),
    }
}

/// Ends this process at once: what the parent registered to be done at its end is the parent's to do.
pub fn end(status: i32) -> ! {
    // SAFETY: ends the process and comes back never; no memory is touched.
    unsafe { libc::_exit(status) }
}

/// An ordinary x86-64 Linux, with addresses that are the same every time: a program whose output depends on
/// where its memory lies still gives the same bytes. False where a container's filter forbids it.
pub fn fixed_personality() -> bool {
    // SAFETY: takes an integer and touches no memory of ours; it takes effect at the next exec.
    unsafe { libc::personality(PER_LINUX | libc::ADDR_NO_RANDOMIZE as libc::c_ulong) != -1 }
}

/// Brings the loopback interface up: some builds test themselves over it.
pub fn loopback_up() -> io::Result<()> {
    let socket = std::net::UdpSocket::bind("0.0.0.0:0")?;
    // SAFETY: `ifreq` is plain integers, for which zero is a value.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    request.ifr_name[0] = b'l' as libc::c_char;
    request.ifr_name[1] = b'o' as libc::c_char;
    request.ifr_ifru.ifru_flags = (libc::IFF_UP | libc::IFF_RUNNING) as libc::c_short;
    // SAFETY: the descriptor is open as long as `socket` lives; the kernel reads one `ifreq`, which `request`
    // is, with its name ended by a zero.
    match unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCSIFFLAGS, &request) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Marks a descriptor to be closed at the next exec. One that is not open is no error.
pub fn close_on_exec(fd: i32) {
    // SAFETY: sets a flag of a descriptor by number; nothing is closed, no memory is touched.
    unsafe { libc::fcntl(fd, libc::F_SETFD, libc::FD_CLOEXEC) };
}
