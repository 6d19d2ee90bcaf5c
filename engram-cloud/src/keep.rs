//! The data directory: one process in it, and the secrets it keeps.

use crate::config::{Config, Secret};
use rustix::fs::{FlockOperation, flock};
use std::fs::{DirBuilder, File, OpenOptions, Permissions};
use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, SocketAddr};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

/// Why the data directory cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum KeepError {
    /// The system refused.
    #[error("cannot use {path}: {source}")]
    Io {
        /// What was touched.
        path: PathBuf,
        /// What the system says.
        #[source]
        source: io::Error,
    },
    /// Another process is there.
    #[error("another engram-cloud (pid {pid}) serves {path}; stop it, or give another --data-dir")]
    Held {
        /// Who holds it.
        pid: String,
        /// The directory.
        path: PathBuf,
    },
    /// A kept secret was emptied.
    #[error("{path} is empty; delete it to have a new secret made")]
    Empty {
        /// The file.
        path: PathBuf,
    },
}

/// A claimed data directory. The operating system's lock is held for as long as this lives.
#[derive(Debug)]
pub struct DataDir {
    path: PathBuf,
    lock: File,
}

impl Drop for DataDir {
    fn drop(&mut self) {
        // Said, and not left to the closing of the file: a process that is being started holds a copy of it meanwhile.
        let _ = flock(&self.lock, FlockOperation::Unlock);
    }
}

impl DataDir {
    /// Makes the directory where there is none (0700), and claims it for this process.
    ///
    /// # Errors
    /// [`KeepError::Held`] with the other process' pid, or what the system says.
    pub fn claim(path: &Path) -> Result<Self, KeepError> {
        let at = |path: &Path| {
            let path = path.to_path_buf();
            move |source| KeepError::Io { path, source }
        };
        if !path.is_dir() {
            DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(at(path))?;
            std::fs::set_permissions(path, Permissions::from_mode(0o700)).map_err(at(path))?;
        }
        let lock_path = path.join("lock");
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false).mode(0o600);
        let mut lock = options.open(&lock_path).map_err(at(&lock_path))?;
        match flock(&lock, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(rustix::io::Errno::WOULDBLOCK) => {
                let mut pid = String::new();
                let _ = lock.read_to_string(&mut pid);
                let pid = if pid.trim().is_empty() { "unknown".to_owned() } else { pid.trim().to_owned() };
                return Err(KeepError::Held { pid, path: path.to_path_buf() });
            }
            Err(error) => return Err(at(&lock_path)(error.into())),
        }
        lock.set_len(0).and_then(|()| writeln!(lock, "{}", std::process::id())).map_err(at(&lock_path))?;
        Ok(Self { path: path.to_path_buf(), lock })
    }

    /// Returns where a file of this name is.
    #[must_use]
    pub fn join(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// Returns a kept secret; `true` says that it was made just now.
    fn secret(&self, name: &str) -> Result<(Secret, bool), KeepError> {
        let path = self.join(name);
        match std::fs::read_to_string(&path) {
            Ok(text) if text.trim().is_empty() => Err(KeepError::Empty { path }),
            Ok(text) => Ok((Secret::new(text.trim().to_owned()), false)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let secret = Secret::generate();
                write_whole(&self.path, &path, secret.expose()).map_err(|source| KeepError::Io { path, source })?;
                Ok((secret, true))
            }
            Err(source) => Err(KeepError::Io { path, source }),
        }
    }
}

/// Writes a file that is there whole or not at all, also after a power cut.
fn write_whole(dir: &Path, path: &Path, text: &str) -> io::Result<()> {
    let draft = path.with_extension("new");
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&draft)?;
    writeln!(file, "{text}")?;
    file.sync_all()?;
    std::fs::rename(&draft, path)?;
    File::open(dir)?.sync_all()
}

/// The secrets the server runs with: those given, and for the others those kept.
#[derive(Debug)]
pub struct Kept {
    /// What devices present; `None` where nobody is asked.
    pub token: Option<Secret>,
    /// What dashboard sessions are signed with.
    pub jwt_secret: Secret,
    /// What managed tokens are hashed with.
    pub pepper: Secret,
    is_token_new: bool,
}

impl Kept {
    /// Takes the given secrets and, for those not given, the kept ones; makes what neither has.
    ///
    /// # Errors
    /// [`KeepError`] where a secret can be neither read nor written.
    pub fn complete(config: &Config, dir: &DataDir) -> Result<Self, KeepError> {
        let kept = |given: &Option<Secret>, name: &str| match given {
            Some(secret) => Ok((secret.clone(), false)),
            None => dir.secret(name),
        };
        let (jwt_secret, _) = kept(&config.jwt_secret, "jwt-secret")?;
        let (pepper, _) = kept(&config.pepper, "token-pepper")?;
        let (token, is_token_new) = match config.insecure {
            true => (None, false),
            false => kept(&config.token, "token").map(|(token, is_new)| (Some(token), is_new))?,
        };
        Ok(Self { token, jwt_secret, pepper, is_token_new })
    }

    /// Tells a token that was made just now, the only time it is shown; nothing otherwise.
    #[must_use]
    pub fn welcome(&self, addr: SocketAddr) -> String {
        let Some(token) = self.token.as_ref().filter(|_| self.is_token_new) else { return String::new() };
        // Listening everywhere is no address to go to; this machine's own is one.
        let ip = if addr.ip().is_unspecified() { Ipv4Addr::LOCALHOST.into() } else { addr.ip() };
        let addr = SocketAddr::new(ip, addr.port());
        format!(
            "A token was made for this server. It is shown this once and kept in its data directory:\n\n  {}\n\n\
             On each device, run this and paste the token:\n\n  \
             engramctl cloud login --server http://{addr} --token-stdin\n\n",
            token.expose()
        )
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    fn mode(path: &Path) -> u32 {
        std::fs::metadata(path).unwrap().permissions().mode() & 0o777
    }

    /// OWN-1: one process per directory, and the second is told the first one's pid.
    #[test]
    fn own_1_a_directory_is_claimed_once() {
        let temp = tempfile::tempdir().unwrap();
        let path = temp.path().join("cloud");
        let first = DataDir::claim(&path).unwrap();
        assert_eq!(mode(&path), 0o700);
        let said = DataDir::claim(&path).unwrap_err().to_string();
        assert!(said.contains(&format!("pid {}", std::process::id())), "{said}");
        drop(first);
        DataDir::claim(&path).unwrap();
    }

    /// SECRET-1: secrets are made once, kept for their owner alone, and told once.
    #[test]
    fn secret_1_the_token_is_made_and_told_once() {
        let temp = tempfile::tempdir().unwrap();
        let path = temp.path().join("cloud");
        let config = Config::local(path.clone());
        let addr = SocketAddr::from(([127, 0, 0, 1], 8080));
        let dir = DataDir::claim(&path).unwrap();
        let first = Kept::complete(&config, &dir).unwrap();
        let token = first.token.clone().unwrap();
        assert!(first.welcome(addr).contains(token.expose()));
        assert!(first.welcome(addr).contains("engramctl cloud login --server http://127.0.0.1:8080 --token-stdin\n"));
        assert!(!format!("{first:?}").contains(token.expose()));
        for name in ["token", "jwt-secret", "token-pepper"] {
            assert_eq!(mode(&dir.join(name)), 0o600, "{name}");
        }
        let second = Kept::complete(&config, &dir).unwrap();
        assert_eq!(second.token.as_ref(), Some(&token));
        assert_eq!(second.welcome(addr), "");
        let open = Kept::complete(&Config { insecure: true, ..config.clone() }, &dir).unwrap();
        assert!(open.token.is_none());
    }
}
