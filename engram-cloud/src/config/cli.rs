//! The command line. Every setting has a flag, except secrets: those come by the environment only (SECRET-1).

use super::setting;
use clap::{Args, Parser, Subcommand};

/// The server that several machines and people share.
#[derive(Debug, Parser)]
#[command(name = "engram-cloud", version, about, max_term_width = 100)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Serves devices until SIGTERM.
    #[command(after_help = SERVE_HELP)]
    Serve(ServeArgs),
    /// Looks after a store, beside a running server.
    Admin(AdminArgs),
}

const SERVE_HELP: &str = "\
Secrets are read from the environment only, never from arguments:
  ENGRAM_CLOUD_TOKEN         what devices present; at least 16 bytes; needs ENGRAM_CLOUD_ALLOWED_PROJECTS
  ENGRAM_JWT_SECRET          signs dashboard sessions; at least 32 bytes
  ENGRAM_CLOUD_TOKEN_PEPPER  hashes managed tokens; at least 32 bytes
  ENGRAM_CLOUD_ADMIN         the dashboard administrator's token; at least 16 bytes
One that is not given is made once and kept in the data directory (0600). The first start without
ENGRAM_CLOUD_TOKEN makes a token, prints it once with the line for the devices, and allows every project.
With ENGRAM_DATABASE_URL no folder is used: ENGRAM_CLOUD_TOKEN and ENGRAM_JWT_SECRET have to be given.

Once ready, one line on stdout says where: engram-cloud listening on http://ADDRESS:PORT
GET /health says who answers, GET /ready whether the store does. SIGTERM ends it within five seconds.";

/// The settings of `serve`. Text all of them, so that one place refuses what does not parse, in one line.
#[derive(Debug, Default, Args)]
pub struct ServeArgs {
    /// Port to listen on, 0 for any free one [default: 8080].
    #[arg(long, env = setting::PORT)]
    pub port: Option<String>,
    /// IP address to listen on [default: 127.0.0.1].
    #[arg(long, env = setting::HOST)]
    pub host: Option<String>,
    /// Folder of the embedded store, made 0700 [default: ~/.engram-cloud].
    #[arg(long, value_name = "DIR", env = setting::DATA_DIR)]
    pub data_dir: Option<String>,
    /// Projects the token may read and write, separated by commas, or * for all.
    #[arg(long, value_name = "NAMES", env = setting::ALLOWED_PROJECTS)]
    pub allowed_projects: Option<String>,
    /// Largest push in bytes, decompressed [default: 8388608].
    #[arg(long, value_name = "BYTES", env = setting::MAX_PUSH_BYTES)]
    pub max_push_bytes: Option<String>,
    /// Days for which the content of a version stays that another one took the place of [default: 30].
    #[arg(long, value_name = "DAYS", env = setting::KEEP_SUPERSEDED)]
    pub keep_superseded_days: Option<String>,
    /// Days for which the content of what was deleted for good stays [default: 1].
    #[arg(long, value_name = "DAYS", env = setting::KEEP_DELETED)]
    pub keep_deleted_days: Option<String>,
    /// Asks nobody for a token; loopback addresses only.
    #[arg(long, value_name = "1|0", num_args = 0..=1, default_missing_value = "1", env = setting::INSECURE)]
    pub insecure_no_auth: Option<String>,
    /// Form of the log on stderr, pretty or json [default: pretty].
    #[arg(long, value_name = "FORM", env = setting::LOG)]
    pub log: Option<String>,
    /// How much is logged: error, warn, info, debug or trace [default: info].
    #[arg(long, value_name = "LEVEL", env = setting::LOG_LEVEL)]
    pub log_level: Option<String>,
    /// Postgres database to use instead of a folder; may hold a password, so better given by the environment.
    #[arg(long, value_name = "URL", env = setting::DATABASE_URL, hide_env_values = true)]
    pub database_url: Option<String>,
}

/// The arguments of `admin`.
#[derive(Debug, Args)]
pub struct AdminArgs {
    /// What to do.
    #[command(subcommand)]
    pub command: AdminCommand,
    /// Folder of the embedded store [default: ~/.engram-cloud].
    #[arg(long, global = true, value_name = "DIR", env = setting::DATA_DIR)]
    pub data_dir: Option<String>,
    /// Postgres database to use instead of a folder; may hold a password, so better given by the environment.
    #[arg(long, global = true, value_name = "URL", env = setting::DATABASE_URL, hide_env_values = true)]
    pub database_url: Option<String>,
}

/// What an administrator can do.
#[derive(Debug, Subcommand)]
pub enum AdminCommand {
    /// Stops a project's pushes with a reason that its devices show; pulls go on.
    Pause {
        /// The project.
        project: String,
        /// Why, in words for the people whose devices wait.
        #[arg(long)]
        reason: String,
    },
    /// Takes a project's pushes again.
    Resume {
        /// The project.
        project: String,
    },
    /// Lists the paused projects.
    Paused,
    /// Lists what administrators did, the newest first: every pause and resume, by whom and why.
    Audit {
        /// So many lines at most.
        #[arg(long, default_value_t = 100)]
        limit: u32,
    },
}
