//! `cloud login`, `logout` and `remirror`: server and token are checked before anything is kept.

use super::{Context, blocked, enrolled_project, failed, on_store};
use crate::config::cloud::{self, CloudConfig, Loaded};
use crate::driver::handle::Command;
use crate::peers::Remote;
use crate::secret::Secret;
use engram_proto::http::pull::PullRequest;
use engram_proto::ipc::reply::{Failure, LoginOutcome, Reply};
use engram_proto::ipc::request::LoginRequest;
use engram_proto::reason::{Exit, ReasonCode};
use engram_proto::words::quoted;
use engramd_core::classify::{self, Fault};
use reqwest::Url;

/// How asking the server went.
enum Check {
    /// It knows the token; who it is.
    Good { words: String, cloud_id: Option<String> },
    /// It could not be asked.
    NotYet(String),
    /// It said no.
    Refused(Failure),
}

pub(super) async fn login(cx: &Context, request: LoginRequest) -> Result<Reply, Failure> {
    let token = Secret::new(request.token.trim().to_owned());
    if token.reveal().is_empty() {
        let hint = "engramctl cloud login --server URL --token-stdin < token-file";
        return Err(failed("invalid_argument", "the token is empty", Some(hint)));
    }
    let url = server_url(cx, request.server_url.as_deref(), request.allow_http)?;
    let config = CloudConfig {
        url: url.clone(),
        url_origin: "file",
        token: token.clone(),
        token_origin: "file",
        allow_http: request.allow_http,
    };
    let (checked, message, elsewhere) = match check(cx, config).await {
        Check::Good { words, cloud_id } => (true, words, other_cloud(cx, cloud_id).await?),
        Check::NotYet(words) => (false, words, Vec::new()),
        Check::Refused(failure) => return Err(failure),
    };
    keep(cx, &url, &token, request.allow_http)?;
    cx.driver.tell(Command::Reload).await;
    let server_url = url.as_str().trim_end_matches('/').to_owned();
    Ok(Reply::LoggedIn(LoginOutcome { server_url, checked, message, elsewhere }))
}

pub(super) async fn logout(cx: &Context) -> Result<Reply, Failure> {
    cloud::remove(&cx.data_dir).map_err(|error| file_failed(cx, &error))?;
    cx.driver.tell(Command::Reload).await;
    let left = if cx.environment.server.is_some() { " (the environment still names a server)" } else { "" };
    Ok(Reply::Done(format!("Server and token are forgotten; memories and enrollments stay{left}")))
}

pub(super) async fn remirror(cx: &Context, project: &str) -> Result<Reply, Failure> {
    let Some(name) = enrolled_project(cx, Some(project)).await? else {
        return Err(blocked(ReasonCode::BlockedUnenrolled, "no project was named".to_owned(), None));
    };
    let host = match cloud::load(&cx.data_dir, &cx.environment) {
        Loaded::NotConfigured => {
            let message = format!("no cloud server is configured that project {name} could be mirrored to");
            return Err(blocked(ReasonCode::CloudNotConfigured, message, None));
        }
        Loaded::Configured(config) => Some(config.host()),
        Loaded::Invalid { .. } => None,
    };
    let due = name.clone();
    // A login may have been kept that the loop has not heard of yet.
    on_store(cx, move |store| host.map_or(Ok(()), |host| store.asks(&host)).and_then(|()| store.remirror(&due)))
        .await?;
    cx.driver.tell(Command::Reload).await;
    let words = format!(
        "Project {name} is mirrored: all that is here of it is queued for the cloud, and it is read from the start. \
         Follow it with: engramctl sync --project {}",
        quoted(name.as_str())
    );
    Ok(Reply::Done(words))
}

fn server_url(cx: &Context, given: Option<&str>, allow_http: bool) -> Result<Url, Failure> {
    let hint = "engramctl cloud login --server https://engram.example.com";
    let known = || match cloud::load(&cx.data_dir, &cx.environment) {
        Loaded::Configured(config) => Some(config.url.to_string()),
        Loaded::Invalid { .. } => cloud::known_url(&cx.data_dir, &cx.environment),
        Loaded::NotConfigured => None,
    };
    let Some(text) = given.map(str::to_owned).or_else(known) else {
        return Err(failed(ReasonCode::CloudNotConfigured.as_str(), "no server is known yet", Some(hint)));
    };
    cloud::check_url(&text, allow_http).map_err(|error| Failure {
        exit: Exit::Degraded,
        reason_code: ReasonCode::CloudConfigError.to_string(),
        message: error.to_string(),
        hint: Some(hint.to_owned()),
    })
}

async fn check(cx: &Context, config: CloudConfig) -> Check {
    let remote = match Remote::new(config, cx.store.clone()) {
        Ok(remote) => remote,
        Err(failure) => return judge(failure),
    };
    let reply = match remote.probe().await {
        Ok(reply) => reply,
        Err(failure) => return judge(failure),
    };
    // A pull of no project and no rows: it asks nothing but whether the token is known.
    match remote.pull(&PullRequest::default()).await {
        // It knows the token where it says that it lost rows; that is for the loop to mend.
        Ok(_) | Err(classify::Failure::Replaced { .. }) => {
            let kind = match &reply.version {
                Some(version) => format!("engram-cloud {version}"),
                None => "a server of the Go program".to_owned(),
            };
            let words = format!("{} answers as {kind} and knows the token", remote.host());
            Check::Good { words, cloud_id: reply.cloud_id }
        }
        Err(failure) => judge(failure),
    }
}

fn judge(failure: classify::Failure) -> Check {
    match failure {
        classify::Failure::Transport { message, fault: Fault::Unreachable | Fault::Answered, .. } => {
            Check::NotYet(message)
        }
        classify::Failure::Transport { code, message, fault: Fault::Garbled, .. }
        | classify::Failure::Blocked { code, message }
        | classify::Failure::Project { code, message } => Check::Refused(blocked(code, message, None)),
        classify::Failure::Replaced { message, .. } => Check::NotYet(message),
        classify::Failure::Rows(fault) => Check::NotYet(fault.evidence),
    }
}

/// CUR-3: returns the enrolled projects that were synced with another cloud, and so wait to be mirrored to this one.
async fn other_cloud(cx: &Context, cloud_id: Option<String>) -> Result<Vec<String>, Failure> {
    let Some(cloud_id) = cloud_id else { return Ok(Vec::new()) };
    on_store(cx, move |store| Ok(store.would_stand_still(&cloud_id)?.iter().map(ToString::to_string).collect())).await
}

fn keep(cx: &Context, url: &Url, token: &Secret, allow_http: bool) -> Result<(), Failure> {
    cloud::store(&cx.data_dir, url, token, allow_http).map_err(|error| file_failed(cx, &error))
}

fn file_failed(cx: &Context, error: &std::io::Error) -> Failure {
    let path = cx.data_dir.join(cloud::FILE_NAME);
    let message = format!("{} cannot be written: {error}", path.display());
    failed(ReasonCode::CloudConfigError.as_str(), &message, Some("engramctl cloud login"))
}
