//! What `chunks init` tells git: which driver merges manifest and chunks.

use super::files::{self, Fault};
use super::unusable::unusable;
use crate::exit::CtlError;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// The driver's name in the attributes and in git's configuration.
const DRIVER: &str = "engram";
/// The attributes that travel with a repository.
pub(crate) const ATTRIBUTES: &str = ".gitattributes";
/// A `.gitattributes` is no larger, in bytes.
const ATTRIBUTES_BYTES_MAX: usize = 1 << 20;

/// A work tree.
#[derive(Debug)]
pub(crate) struct WorkTree {
    root: PathBuf,
}

impl WorkTree {
    /// Finds the work tree that a directory is in.
    pub(crate) fn around(directory: &Path) -> Result<Self, CtlError> {
        let root = directory.ancestors().find(|above| above.join(".git").exists());
        let root = root.ok_or_else(|| {
            let message = format!("{} is in no git repository", directory.display());
            CtlError::usage(message, "git init, or run it in the repository that shares the memory")
        })?;
        Ok(Self { root: root.to_owned() })
    }

    /// Returns the top of the work tree.
    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    /// Makes the lines that say what merges the files of a place.
    fn lines(&self, place: &Path) -> Result<[String; 2], CtlError> {
        let inside = place.strip_prefix(&self.root).map_err(|_| {
            let message = format!("{} is not inside of the repository {}", place.display(), self.root.display());
            CtlError::usage(message, "give a directory of the repository with --dir")
        })?;
        Ok([
            format!("{} merge={DRIVER}", pattern(inside, "manifest.json")),
            format!("{} -text -diff merge={DRIVER}", pattern(inside, "chunks/*.jsonl.gz")),
        ])
    }

    /// Adds the lines for a place to `.gitattributes`, where they are not there; tells whether it did.
    pub(crate) fn add_attributes(&self, place: &Path) -> Result<bool, CtlError> {
        let wanted = self.lines(place)?;
        let failed = |fault: Fault| unusable(&self.root.join(ATTRIBUTES), &fault);
        let root = files::open_dir(&self.root).map_err(failed)?;
        let mut text = match files::read(&root, ATTRIBUTES, ATTRIBUTES_BYTES_MAX) {
            Ok(bytes) => String::from_utf8(bytes).map_err(|error| failed(std::io::Error::other(error).into()))?,
            Err(Fault::Missing) => String::new(),
            Err(fault) => return Err(failed(fault)),
        };
        if !add(&mut text, &wanted) {
            return Ok(false);
        }
        files::write(&root, ATTRIBUTES, text.as_bytes()).map_err(failed)?;
        Ok(true)
    }

    /// Registers the driver for this clone; git takes no such command from a repository, so every clone does it once.
    ///
    /// The attributes are written into the clone as well: a rebase begins with a commit that may not have the file yet.
    pub(crate) fn register_driver(&self, place: &Path) -> Result<(), CtlError> {
        let path = self.root.join(self.git(&["rev-parse", "--git-path", "info/attributes"])?);
        let mut text = match std::fs::read_to_string(&path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => String::new(),
            read => read.map_err(|error| self.failed(&error.to_string()))?,
        };
        if add(&mut text, &self.lines(place)?) {
            let made = path.parent().map_or(Ok(()), std::fs::create_dir_all);
            made.and_then(|()| std::fs::write(&path, text)).map_err(|error| self.failed(&error.to_string()))?;
        }
        let program = std::env::current_exe().map_err(|error| self.failed(&error.to_string()))?;
        let program = program.to_string_lossy().replace('\'', r"'\''");
        let command = format!("'{program}' chunks merge-driver %O %A %B %P");
        self.configure("name", "unites the manifests of engram's chunks")?;
        self.configure("driver", &command)
    }

    fn configure(&self, name: &str, value: &str) -> Result<(), CtlError> {
        self.git(&["config", &format!("merge.{DRIVER}.{name}"), value]).map(drop)
    }

    /// Tells whether git has something to add or to commit below these paths.
    pub(crate) fn has_news(&self, paths: &[&Path]) -> Result<bool, CtlError> {
        Ok(!self.git_about(&["status", "--porcelain"], paths)?.stdout.is_empty())
    }

    /// Returns the first of these paths that git passes over, if any: `git add` would refuse it.
    pub(crate) fn ignored(&self, paths: &[&Path]) -> Result<Option<PathBuf>, CtlError> {
        for path in paths {
            if self.git_about(&["check-ignore", "--quiet"], &[path])?.status.success() {
                return Ok(Some(path.to_path_buf()));
            }
        }
        Ok(None)
    }

    fn git_about(&self, args: &[&str], paths: &[&Path]) -> Result<Output, CtlError> {
        self.output(Command::new("git").arg("-C").arg(&self.root).args(args).arg("--").args(paths))
    }

    /// Runs git in the work tree, and returns the line that it printed.
    fn git(&self, args: &[&str]) -> Result<String, CtlError> {
        let done = self.output(Command::new("git").arg("-C").arg(&self.root).args(args))?;
        if !done.status.success() {
            return Err(self.failed(&String::from_utf8_lossy(&done.stderr)));
        }
        Ok(String::from_utf8_lossy(&done.stdout).trim_end_matches(['\n', '\r']).to_owned())
    }

    fn output(&self, git: &mut Command) -> Result<Output, CtlError> {
        let hint = "install git, or put its directory into PATH, then run this again";
        git.output().map_err(|error| self.not_registered(&format!("git cannot be run: {error}"), hint))
    }

    fn failed(&self, why: &str) -> CtlError {
        self.not_registered(why, "put that right, then run this again")
    }

    fn not_registered(&self, why: &str, hint: &str) -> CtlError {
        let message = format!("the merge driver of {} was not registered: {}", self.root.display(), why.trim());
        CtlError::Place { message, hint: hint.to_owned() }
    }
}

/// Makes the pattern of files below a directory of the work tree, as a line of attributes begins with it: what git takes for
/// a wildcard in the directory's name stands for itself, and what ends a word or is no text is quoted as in C.
fn pattern(inside: &Path, files: &str) -> String {
    let mut pattern = vec![b'/'];
    for &byte in inside.as_os_str().as_bytes() {
        pattern.extend(b"*?[\\".contains(&byte).then_some(b'\\'));
        pattern.push(byte);
    }
    if pattern.len() > 1 {
        pattern.push(b'/');
    }
    pattern.extend_from_slice(files.as_bytes());
    let parts = |c: char| c.is_whitespace() || c.is_control() || c == '"';
    match std::str::from_utf8(&pattern) {
        Ok(plain) if !plain.contains(parts) => plain.to_owned(),
        _ => format!("\"{}\"", pattern.iter().map(|&byte| c_quoted(byte)).collect::<String>()),
    }
}

fn c_quoted(byte: u8) -> String {
    match byte {
        b'"' | b'\\' => format!("\\{}", char::from(byte)),
        0x20..0x7f => char::from(byte).to_string(),
        _ => format!("\\{byte:03o}"),
    }
}

/// Adds the lines that a text does not have; tells whether there were any.
fn add(text: &mut String, wanted: &[String]) -> bool {
    let missing: Vec<_> = wanted.iter().filter(|line| !text.lines().any(|has| has.trim() == line.as_str())).collect();
    if !missing.is_empty() && !text.is_empty() && !text.ends_with('\n') {
        text.push('\n');
    }
    missing.iter().for_each(|line| text.extend([line.as_str(), "\n"]));
    !missing.is_empty()
}
