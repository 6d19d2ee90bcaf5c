//! `engram-cloud admin`: what is done beside a running server, which sees it at its next request.

use crate::clock::{Clock, rfc3339_us};
use crate::config::cli::{AdminArgs, AdminCommand};
use crate::config::{ConfigError, store_dir};
use crate::journal::Control;
use crate::journal::embedded::{Beside, FILE_NAME, OpenError};
use engram_proto::id::{BlankProject, ProjectName};
use std::io::{self, Write};

/// Why a command failed.
#[derive(Debug, thiserror::Error)]
pub enum AdminError {
    /// No data directory.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The store.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// The name.
    #[error("the project name is blank")]
    Name(#[from] BlankProject),
    /// The reason.
    #[error("the reason is blank; say in words why the devices have to wait")]
    Reason,
    /// Nobody reads what is printed.
    #[error("cannot print: {0}")]
    Print(#[from] io::Error),
}

/// Does one command.
///
/// # Errors
/// [`AdminError`], with nothing changed.
pub fn run(args: &AdminArgs, out: &mut impl Write) -> Result<(), AdminError> {
    let dir = store_dir(args.data_dir.as_deref(), |name| std::env::var(name).ok())?;
    let store = Beside::open(dir.join(FILE_NAME))?;
    let now_us = Clock::system().now_us();
    match &args.command {
        AdminCommand::Pause { project, reason } => {
            let reason =
                Some(reason.trim().to_owned()).filter(|reason| !reason.is_empty()).ok_or(AdminError::Reason)?;
            let control = control(project, Some(reason), now_us)?;
            store.set_control(&control)?;
            writeln!(out, "paused {}: its pushes are answered 409, its pulls go on", control.project)?;
        }
        AdminCommand::Resume { project } => {
            let control = control(project, None, now_us)?;
            store.set_control(&control)?;
            writeln!(out, "resumed {}", control.project)?;
        }
        AdminCommand::Paused => {
            for control in store.controls()?.iter().filter(|control| !control.is_sync_enabled) {
                let reason = control.reason.as_deref().unwrap_or_default();
                let since = rfc3339_us(control.updated_at_us);
                writeln!(out, "{}\tsince {since}\tby {}\t{reason}", control.project, control.updated_by)?;
            }
        }
    }
    Ok(())
}

fn control(project: &str, reason: Option<String>, now_us: i64) -> Result<Control, AdminError> {
    let user = std::env::var("USER").ok().filter(|user| !user.trim().is_empty());
    Ok(Control {
        project: ProjectName::parse(project)?,
        is_sync_enabled: reason.is_none(),
        reason,
        updated_by: user.unwrap_or_else(|| "admin".to_owned()),
        updated_at_us: now_us,
    })
}
