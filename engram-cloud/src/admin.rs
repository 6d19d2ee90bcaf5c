//! `engram-cloud admin`: what is done beside a running server, which sees it at its next request.

use crate::clock::{Clock, rfc3339_us};
use crate::config::cli::{AdminArgs, AdminCommand};
use crate::config::{ConfigError, Store};
use crate::journal::{Audited, Control, embedded, postgres};
use engram_proto::id::{BlankProject, ProjectName};
use std::io::{self, Write};
use tokio::runtime::{Builder, Runtime};

/// Why a command failed.
#[derive(Debug, thiserror::Error)]
pub enum AdminError {
    /// Which store is meant.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The embedded store.
    #[error(transparent)]
    Embedded(#[from] embedded::OpenError),
    /// The database.
    #[error(transparent)]
    Postgres(#[from] postgres::OpenError),
    /// The name.
    #[error("the project name is blank")]
    Name(#[from] BlankProject),
    /// The reason.
    #[error("the reason is blank; say in words why the devices have to wait")]
    Reason,
    /// The system: nobody reads what is printed, or there is no room to work.
    #[error("the system refused: {0}")]
    Io(#[from] io::Error),
}

/// Does one command.
///
/// # Errors
/// [`AdminError`], with nothing changed.
pub fn run(args: &AdminArgs, out: &mut impl Write) -> Result<(), AdminError> {
    let env = |name: &str| std::env::var(name).ok();
    let mut store = Beside::open(Store::read(args.database_url.as_deref(), args.data_dir.as_deref(), env)?)?;
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
            if store.controls()?.iter().any(|known| known.project == control.project && !known.is_sync_enabled) {
                store.set_control(&control)?;
                writeln!(out, "resumed {}", control.project)?;
            } else {
                writeln!(out, "{} was not paused", control.project)?;
            }
        }
        AdminCommand::Paused => {
            for control in store.controls()?.iter().filter(|control| !control.is_sync_enabled) {
                let reason = control.reason.as_deref().unwrap_or_default();
                let since = rfc3339_us(control.updated_at_us);
                writeln!(out, "{}\tsince {since}\tby {}\t{reason}", control.project, control.updated_by)?;
            }
        }
        AdminCommand::Audit { limit } => {
            for done in store.audited(*limit)? {
                let (at, project) = (rfc3339_us(done.occurred_at_us), done.project.as_deref().unwrap_or_default());
                let reason = done.reason.map(|reason| format!("\t{reason}")).unwrap_or_default();
                writeln!(out, "{}\t{project}\tat {at}\tby {}{reason}", done.action, done.actor)?;
            }
        }
    }
    Ok(())
}

/// Either store, beside its running servers.
enum Beside {
    Embedded(embedded::Beside),
    Postgres(Box<postgres::Beside>, Runtime),
}

impl Beside {
    fn open(store: Store) -> Result<Self, AdminError> {
        match store {
            Store::Embedded(dir) => Ok(Self::Embedded(embedded::Beside::open(dir.join(embedded::FILE_NAME))?)),
            Store::Postgres(url) => {
                let runtime = Builder::new_current_thread().enable_all().build()?;
                let store = runtime.block_on(postgres::Beside::open(url.options()))?;
                Ok(Self::Postgres(Box::new(store), runtime))
            }
        }
    }

    fn controls(&mut self) -> Result<Vec<Control>, AdminError> {
        match self {
            Self::Embedded(store) => Ok(store.controls()?),
            Self::Postgres(store, runtime) => Ok(runtime.block_on(store.controls())?),
        }
    }

    fn audited(&mut self, rows_max: u32) -> Result<Vec<Audited>, AdminError> {
        match self {
            Self::Embedded(store) => Ok(store.audited(rows_max)?),
            Self::Postgres(store, runtime) => Ok(runtime.block_on(store.audited(rows_max))?),
        }
    }

    fn set_control(&mut self, control: &Control) -> Result<(), AdminError> {
        match self {
            Self::Embedded(store) => Ok(store.set_control(control)?),
            Self::Postgres(store, runtime) => Ok(runtime.block_on(store.set_control(control))?),
        }
    }
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
