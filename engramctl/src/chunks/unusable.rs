//! What to do about a file or a directory that cannot be used.

use super::files::Fault;
use crate::exit::CtlError;
use engram_proto::words::quoted;
use std::io::ErrorKind;
use std::path::Path;

/// Says which cannot be used, why, and what next.
pub(crate) fn unusable(path: &Path, fault: &Fault) -> CtlError {
    let name = path.display().to_string();
    CtlError::Place { message: format!("{name} cannot be used: {fault}"), hint: next_step(&quoted(&name), fault) }
}

fn next_step(path: &str, fault: &Fault) -> String {
    match fault {
        Fault::Missing => "run it again; if it is still missing, name another directory with --dir".to_owned(),
        Fault::Symlink | Fault::HardLink => {
            format!("ls -l {path} shows where it leads; put the thing itself there, or name another with --dir")
        }
        Fault::NotPlain => not_meant(path),
        Fault::NotOurs => format!("name the .engram of a repository, or another directory, or move {path} away"),
        Fault::Others => "name a repository, its .engram, or an empty directory".to_owned(),
        Fault::TooLarge(_) | Fault::TooMany(_) => format!("take away what does not belong to {path}"),
        Fault::Io(error) => match error.kind() {
            ErrorKind::PermissionDenied => {
                format!("ls -ld {path} shows whose it is; chmod or chown it, or name another directory with --dir")
            }
            ErrorKind::ReadOnlyFilesystem => "name a directory that can be written with --dir".to_owned(),
            ErrorKind::StorageFull | ErrorKind::QuotaExceeded => "free some space, then run it again".to_owned(),
            ErrorKind::NotADirectory | ErrorKind::IsADirectory => not_meant(path),
            _ => format!("ls -ld {path} shows what is there; run it again, or name another directory with --dir"),
        },
    }
}

fn not_meant(path: &str) -> String {
    format!("move {path} away, or name another directory with --dir")
}
