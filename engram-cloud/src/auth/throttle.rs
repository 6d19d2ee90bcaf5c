//! Patience with failed authentication, per address and in bounded memory.

use crate::clock::US_PER_S;
use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};

/// Failures an address may have in one window before it is told to wait.
const FAILURES_MAX: u32 = 20;

/// How long a window is.
const WINDOW_US: i64 = 60 * US_PER_S;

/// Addresses remembered at one time; some 50 bytes each.
const ADDRESSES_MAX: usize = 4_096;

struct Window {
    began_us: i64,
    failures: u32,
}

/// Counts failures per address.
#[derive(Default)]
pub(super) struct Throttle(HashMap<IpAddr, Window>);

impl Throttle {
    /// Counts a failure; `Some` is how many seconds are left once there were too many.
    pub(super) fn fail(&mut self, from: IpAddr, now_us: i64) -> Option<u64> {
        let from = network(from);
        if !self.0.contains_key(&from) {
            self.make_room(now_us);
        }
        let window = self.0.entry(from).or_insert(Window { began_us: now_us, failures: 0 });
        // A clock that was set back ends a window too.
        if !(0..WINDOW_US).contains(&(now_us - window.began_us)) {
            *window = Window { began_us: now_us, failures: 0 };
        }
        window.failures = window.failures.saturating_add(1);
        let left_us = window.began_us + WINDOW_US - now_us;
        (window.failures > FAILURES_MAX).then(|| u64::try_from(left_us / US_PER_S).unwrap_or(0) + 1)
    }

    fn make_room(&mut self, now_us: i64) {
        if self.0.len() < ADDRESSES_MAX {
            return;
        }
        self.0.retain(|_, window| (0..WINDOW_US).contains(&(now_us - window.began_us)));
        if self.0.len() >= ADDRESSES_MAX
            && let Some(oldest) = self.0.iter().min_by_key(|(_, window)| window.began_us).map(|(from, _)| *from)
        {
            self.0.remove(&oldest);
        }
    }
}

/// Returns what one party surely holds: an IPv4 address, or a /64 of IPv6.
fn network(from: IpAddr) -> IpAddr {
    match from.to_canonical() {
        IpAddr::V6(v6) => {
            let s = v6.segments();
            Ipv6Addr::new(s[0], s[1], s[2], s[3], 0, 0, 0, 0).into()
        }
        v4 => v4,
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    #[test]
    fn twenty_failures_a_minute_are_borne() {
        let mut throttle = Throttle::default();
        let from: IpAddr = "2001:db8::1".parse().unwrap();
        let same_network: IpAddr = "2001:db8::2".parse().unwrap();
        assert!((0..20).all(|_| throttle.fail(from, 0).is_none()));
        assert_eq!(throttle.fail(same_network, 30 * US_PER_S), Some(31));
        assert_eq!(throttle.fail(from, WINDOW_US), None, "a new window");
    }

    #[test]
    fn memory_is_bounded() {
        let mut throttle = Throttle::default();
        for i in 0..10_000_u32 {
            throttle.fail(IpAddr::from(i.to_be_bytes()), i64::from(i));
        }
        assert_eq!(throttle.0.len(), ADDRESSES_MAX);
    }
}
