//! Who may do what: the token, the grant behind it, and the patience with those who have none.
//!
//! The principal is decided once per request, here; everything after it asks the [`Grant`] (SCOPE-2).

mod throttle;
mod token;

use crate::config::Secret;
use axum::http::HeaderMap;
use engram_proto::id::ProjectName;
use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use throttle::Throttle;
use token::Digest;

/// Who makes a request.
#[derive(Debug, PartialEq, Eq)]
pub struct Principal {
    /// The name in logs.
    pub name: String,
    /// What it may touch.
    pub grant: Grant,
}

/// The projects a principal may read and write.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Grant {
    /// Whatever there is.
    Every,
    /// These.
    Only(BTreeSet<ProjectName>),
}

impl Grant {
    /// Tells whether a project is among them.
    #[must_use]
    pub fn allows(&self, project: &ProjectName) -> bool {
        match self {
            Self::Every => true,
            Self::Only(names) => names.contains(project),
        }
    }
}

/// Why a request is not let in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AuthError {
    /// No header.
    #[error("no token was presented; send Authorization: Bearer TOKEN")]
    Missing,
    /// A header of another form.
    #[error("the Authorization header is not of the form Bearer TOKEN")]
    Malformed,
    /// A token nobody gave out.
    #[error("the token is not known here; run engramctl cloud login with a valid one")]
    Unknown,
    /// Too many failures from this address.
    #[error("too many failed attempts from this address; try again in {retry_after_s} s")]
    Throttled {
        /// When the next attempt is judged.
        retry_after_s: u64,
    },
}

enum Rule {
    Open(Arc<Principal>),
    Token { digest: Digest, principal: Arc<Principal> },
}

/// The door of everything under `/sync/`.
pub struct Gate {
    rule: Rule,
    throttle: Mutex<Throttle>,
}

impl Gate {
    /// Makes a door that asks nobody.
    #[must_use]
    pub fn open(grant: Grant) -> Self {
        let principal = Arc::new(Principal { name: "insecure".to_owned(), grant });
        Self { rule: Rule::Open(principal), throttle: Mutex::default() }
    }

    /// Makes a door with one token.
    #[must_use]
    pub fn with_token(token: &Secret, grant: Grant) -> Self {
        let principal = Arc::new(Principal { name: "token".to_owned(), grant });
        Self { rule: Rule::Token { digest: Digest::of(token.expose()), principal }, throttle: Mutex::default() }
    }

    /// Decides who makes a request. The right token is let in however often its address failed before.
    ///
    /// # Errors
    /// [`AuthError`], after counting the failure.
    pub fn admit(&self, headers: &HeaderMap, from: IpAddr, now_us: i64) -> Result<Arc<Principal>, AuthError> {
        let (digest, principal) = match &self.rule {
            Rule::Open(principal) => return Ok(Arc::clone(principal)),
            Rule::Token { digest, principal } => (digest, principal),
        };
        let failure = match token::bearer(headers) {
            Ok(presented) if Digest::of(presented) == *digest => return Ok(Arc::clone(principal)),
            Ok(_) => AuthError::Unknown,
            Err(error) => error,
        };
        let mut throttle = self.throttle.lock().unwrap_or_else(PoisonError::into_inner);
        match throttle.fail(from, now_us) {
            Some(retry_after_s) => Err(AuthError::Throttled { retry_after_s }),
            None => Err(failure),
        }
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;
    use axum::http::header::AUTHORIZATION;

    fn headers(value: &str) -> HeaderMap {
        HeaderMap::from_iter([(AUTHORIZATION, value.parse().unwrap())])
    }

    #[test]
    fn the_right_token_is_let_in_however_often_the_address_failed() {
        let gate = Gate::with_token(&Secret::new("a-token-of-sixteen".into()), Grant::Every);
        let from: IpAddr = "10.0.0.1".parse().unwrap();
        let mut last = Ok(());
        for _ in 0..50 {
            last = gate.admit(&headers("Bearer wrong"), from, 0).map(drop);
        }
        assert!(matches!(last, Err(AuthError::Throttled { .. })));
        assert!(gate.admit(&headers("bearer  a-token-of-sixteen"), from, 0).is_ok());
        assert_eq!(gate.admit(&HeaderMap::new(), "10.0.0.2".parse().unwrap(), 0), Err(AuthError::Missing));
    }
}
