//! Wakes the loop when the machine resumes from suspend (REC-1).
//!
//! The monotonic clock stands still while a machine sleeps, the wall clock does not: the gap between them tells. Linux sets
//! the wall clock at a resume, and says so at once to a timer that asks for it; elsewhere the loop finds the gap when it
//! turns, 30 s later at most. Nobody wakes up for this.

use super::handle::DriverHandle;
use engramd_core::Now;

/// A gap between the clocks of more than this was a suspend.
const SLEEP_MS: i64 = 10_000;

/// Tells whether the machine slept between two looks at its clocks: the network is another one then.
pub(super) fn slept(before: Now, now: Now) -> bool {
    let wall_ms = now.wall_ms.saturating_sub(before.wall_ms);
    let mono_ms = i64::try_from(now.mono_ms.saturating_sub(before.mono_ms)).unwrap_or(i64::MAX);
    wall_ms.saturating_sub(mono_ms) > SLEEP_MS
}

/// Lets the loop look at its clocks whenever the wall clock was set, on a thread that sleeps until then.
///
/// # Errors
/// What the system says; the loop then finds a resume when it turns.
#[cfg(target_os = "linux")]
pub fn listen(driver: DriverHandle) -> std::io::Result<()> {
    let timer = linux::arm(linux::NEVER)?;
    driver.nudged_by("clock", move || linux::was_set(&timer), || super::handle::Command::ClockSet)
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
    use rustix::io::{Errno, read};
    use rustix::time::{
        Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create, timerfd_settime,
    };
    use std::io;
    use std::os::fd::OwnedFd;

    /// The wall clock does not get there.
    pub(super) const NEVER: Timespec = Timespec { tv_sec: i64::MAX, tv_nsec: 0 };

    /// Makes a timer of the wall clock that is cancelled when that is set (`TFD_TIMER_CANCEL_ON_SET`), and would fire then.
    pub(super) fn arm(at: Timespec) -> io::Result<OwnedFd> {
        let timer = timerfd_create(TimerfdClockId::Realtime, TimerfdFlags::CLOEXEC)?;
        let once = Itimerspec { it_interval: Timespec { tv_sec: 0, tv_nsec: 0 }, it_value: at };
        timerfd_settime(&timer, TimerfdTimerFlags::ABSTIME | TimerfdTimerFlags::CANCEL_ON_SET, &once)?;
        Ok(timer)
    }

    /// Waits until the clock was set; the timer stays armed.
    pub(super) fn was_set(timer: &OwnedFd) -> io::Result<()> {
        loop {
            match read(timer, &mut [0_u8; 8]) {
                Ok(_) | Err(Errno::CANCELED) => return Ok(()),
                Err(Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rec_1_a_gap_between_the_clocks_is_a_sleep_and_a_long_turn_is_none() {
        let now = |mono_ms, wall_ms| Now { mono_ms, wall_ms };
        let before = now(1_000, 500_000);
        assert!(slept(before, now(1_001, 500_001 + SLEEP_MS + 1)));
        assert!(!slept(before, now(1_001, 500_001 + SLEEP_MS)));
        assert!(!slept(before, now(3_601_000, 4_100_000)), "an hour on both");
        assert!(!slept(before, now(1_001, 0)), "set back");
    }

    /// No test may set the clock of the machine; a timer that fires is told of in the same way.
    #[cfg(target_os = "linux")]
    #[test]
    #[expect(clippy::unwrap_used, reason = "tests")]
    fn a_timer_tells_once_and_waits_again() {
        let past = rustix::time::Timespec { tv_sec: 1, tv_nsec: 0 };
        let (fired, never) = (linux::arm(past).unwrap(), linux::arm(linux::NEVER).unwrap());
        linux::was_set(&fired).unwrap();
        for waiting in [&fired, &never] {
            rustix::fs::fcntl_setfl(waiting, rustix::fs::OFlags::NONBLOCK).unwrap();
            let told = linux::was_set(waiting).unwrap_err();
            assert_eq!(told.kind(), std::io::ErrorKind::WouldBlock, "nobody set the clock");
        }
    }
}
