//! Who answers at the other end: asked once before anything else, and again after every outage.

use crate::backoff::{Retry, Trouble};
use crate::classify::{Failure, Fault};
use crate::event::{Cloud, Effect, Now};
use crate::machine::Machine;
use engram_proto::http::health::{HealthReply, Limits, PEER_LIMITS, capability};
use engram_proto::reason::ReasonCode;
use engram_proto::time::{MS_PER_S, RowTime};

/// Clocks that differ by more are said, in seconds (reasons.md, `clock_skew`).
const CLOCK_SKEW_MAX_S: i64 = 300;

/// A clock whose distance from the monotonic one changed by more was set, or the machine slept, in milliseconds.
const SET_MS: i64 = 10_000;

/// The server as we know it.
#[derive(Debug, Default)]
pub(crate) struct Server {
    state: State,
    /// How reaching it goes.
    pub(crate) retry: Retry,
    /// As it last introduced itself; kept while it is away, for the report.
    pub(crate) info: Option<Info>,
    /// Whether it answered last time.
    pub(crate) reachable: Option<bool>,
    /// How far this device's clock is ahead of its clock, in seconds, where it told its time.
    ahead_s: Option<i64>,
    /// How far this device's clock was from the monotonic one when it told it, in milliseconds.
    clock_gap_ms: i64,
    /// Its clock is another.
    pub(crate) skew: Option<Trouble>,
}

#[derive(Debug, Default, PartialEq, Eq)]
enum State {
    #[default]
    Unknown,
    Probing,
    Known,
}

/// What a server said of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Info {
    pub cloud_id: String,
    pub version: Option<String>,
    pub capabilities: Vec<String>,
    pub limits: Limits,
}

impl Server {
    /// Forgets that it was there: whoever answers next is asked again who it is.
    pub(crate) fn forget(&mut self) {
        self.state = State::Unknown;
        self.reachable = Some(false);
    }

    pub(crate) fn abort(&mut self) {
        if self.state == State::Probing {
            self.state = State::Unknown;
        }
    }

    pub(crate) fn limits(&self) -> Limits {
        self.info.as_ref().map_or(PEER_LIMITS, |info| info.limits)
    }

    pub(crate) fn can(&self, capability: &str) -> bool {
        self.info.as_ref().is_some_and(|info| info.capabilities.iter().any(|known| known == capability))
    }
}

impl Machine {
    /// Asks who answers, unless that is known; tells whether the lanes may talk.
    pub(crate) fn advance_server(&mut self) -> bool {
        if self.server.state == State::Known && self.clock_was_set() {
            // What we know of its time is no longer true, and what is pending may be from a wrong one.
            self.server.state = State::Unknown;
        }
        if self.server.state == State::Unknown && self.server.retry.is_due(self.now) {
            self.server.state = State::Probing;
            self.out.push(Effect::Probe);
        }
        self.server.state == State::Known && self.server.retry.is_due(self.now)
    }

    pub(crate) fn probed(&mut self, answer: Result<HealthReply, Failure>) {
        if self.server.state != State::Probing {
            return;
        }
        self.server.state = State::Unknown;
        let reply = match answer {
            Ok(reply) => reply,
            // Not even a greeting: whatever the answer was, nothing else will get through.
            Err(Failure::Transport { code, message, wait_ms, .. }) => {
                let failure = Failure::Transport { code, message, wait_ms, fault: Fault::Unreachable };
                return self.conversation_failed(failure, None, false);
            }
            Err(failure) => return self.conversation_failed(failure, None, false),
        };
        self.server.reachable = Some(true);
        self.check_clock(&reply);
        match self.introduced(reply) {
            Ok(info) => {
                self.server.state = State::Known;
                if self.server.info.as_ref().is_some_and(|before| before.cloud_id != info.cloud_id) {
                    self.another_answers();
                }
                self.server.info = Some(info);
                let trouble = self.server.retry.trouble.as_ref().map(|trouble| trouble.code);
                // A greeting needs no token: only a push or a pull proves that a refusal is over.
                if trouble != Some(ReasonCode::AuthRequired) {
                    self.server.retry.succeed();
                }
            }
            Err(failure) => self.conversation_failed(failure, None, false),
        }
    }

    fn introduced(&self, reply: HealthReply) -> Result<Info, Failure> {
        let Cloud::Configured { host } = &self.cloud else {
            return Err(Failure::Blocked { code: ReasonCode::CloudNotConfigured, message: String::new() });
        };
        let Some(cloud_id) = reply.cloud_id else {
            let message = format!("{host} does not say which cloud it is");
            return Err(Failure::Blocked { code: ReasonCode::ServerUnsupported, message });
        };
        let large = reply.capabilities.iter().any(|name| name == capability::LARGE_BATCH);
        let limits = reply.limits.filter(|_| large).unwrap_or(PEER_LIMITS);
        Ok(Info { cloud_id, version: reply.version, capabilities: reply.capabilities, limits })
    }

    /// Tells whether this device's clock was set since the server told its time.
    pub(crate) fn clock_was_set(&self) -> bool {
        self.server.ahead_s.is_some() && (clock_gap_ms(self.now) - self.server.clock_gap_ms).abs() > SET_MS
    }

    /// Returns the cloud's time for now, where it told its clock.
    pub(crate) fn cloud_now(&self) -> Option<RowTime> {
        RowTime::from_unix_ms(self.now.wall_ms - self.server.ahead_s? * MS_PER_S)
    }

    fn check_clock(&mut self, reply: &HealthReply) {
        let theirs = reply.time.as_deref().and_then(RowTime::parse);
        let ahead_s = theirs.map_or(0, |theirs| self.now.wall_ms / MS_PER_S - theirs.unix_s());
        self.server.ahead_s = theirs.map(|_| ahead_s);
        self.server.clock_gap_ms = clock_gap_ms(self.now);
        let way = if ahead_s > 0 { "ahead of" } else { "behind" };
        self.server.skew = (ahead_s.abs() > CLOCK_SKEW_MAX_S).then(|| {
            let message = format!("this machine's clock is {} s {way} the server's", ahead_s.abs());
            Trouble::renewed(self.server.skew.as_ref(), ReasonCode::ClockSkew, message, self.now)
        });
    }
}

fn clock_gap_ms(now: Now) -> i64 {
    now.wall_ms.saturating_sub(i64::try_from(now.mono_ms).unwrap_or(i64::MAX))
}
