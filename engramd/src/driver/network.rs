//! Wakes the loop when the machine's network changes (REC-1): a cable, a new address, another route.
//!
//! Linux tells by a netlink socket. Elsewhere a change is found by the next attempt, five minutes later at most.

use super::handle::DriverHandle;

/// Listens as long as the loop is there, on a thread that sleeps until something changes.
///
/// # Errors
/// What the system says; the loop then finds out by its next attempt.
#[cfg(target_os = "linux")]
pub fn listen(driver: DriverHandle) -> std::io::Result<()> {
    let socket = linux::open()?;
    driver.nudged_by("network", move || linux::changed(&socket), || super::handle::Command::Wake)
}

/// Does nothing where nobody tells.
///
/// # Errors
/// None.
#[cfg(not(target_os = "linux"))]
pub fn listen(_: DriverHandle) -> std::io::Result<()> {
    Ok(())
}

#[cfg(target_os = "linux")]
mod linux {
    use rustix::io::Errno;
    use rustix::net::netlink::SocketAddrNetlink;
    use rustix::net::{AddressFamily, RecvFlags, SocketFlags, SocketType, bind, recv, socket_with};
    use std::io;
    use std::os::fd::OwnedFd;
    use std::time::Duration;

    /// Links, addresses and routes, of IPv4 and IPv6 (`RTMGRP_*` of rtnetlink(7)).
    const GROUPS: u32 = 0x1 | 0x10 | 0x40 | 0x100 | 0x400;

    /// One change is told by many messages, all of them within this time.
    const BURST: Duration = Duration::from_millis(500);

    pub(super) fn open() -> io::Result<OwnedFd> {
        // The first protocol of netlink, which is what none means, is the one that tells of routes and addresses.
        let socket = socket_with(AddressFamily::NETLINK, SocketType::RAW, SocketFlags::CLOEXEC, None)?;
        bind(&socket, &SocketAddrNetlink::new(0, GROUPS))?;
        Ok(socket)
    }

    /// Waits for a change, and until its messages have come.
    pub(super) fn changed(socket: &OwnedFd) -> io::Result<()> {
        receive(socket, RecvFlags::empty())?;
        std::thread::sleep(BURST);
        while receive(socket, RecvFlags::DONTWAIT)? {}
        Ok(())
    }

    /// Takes a message, whatever it says; one that was lost says the same.
    fn receive(socket: &OwnedFd, flags: RecvFlags) -> io::Result<bool> {
        match recv(socket, &mut [0_u8; 8192], flags) {
            Ok(_) | Err(Errno::NOBUFS | Errno::INTR) => Ok(true),
            Err(Errno::AGAIN) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }
}
