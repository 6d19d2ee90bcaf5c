//! Tests of what starts and what is refused.
#![expect(clippy::unwrap_used, reason = "tests")]

use super::*;
use crate::journal::compaction::DAY;
use engram_proto::id::ProjectName;

const TOKEN: &str = "sixteen-bytes-ok";
const KEY: &str = "thirty-two-bytes-are-long-enough";

fn read(args: &ServeArgs, env: &[(&str, &str)]) -> Result<Config, ConfigError> {
    let env: Vec<(String, String)> =
        [("HOME", "/home/me")].iter().chain(env).map(|&(k, v)| (k.to_owned(), v.to_owned())).collect();
    Config::read(args, |name| env.iter().find(|(key, _)| key == name).map(|(_, value)| value.clone()))
}

fn args(change: impl FnOnce(&mut ServeArgs)) -> ServeArgs {
    let mut args = ServeArgs::default();
    change(&mut args);
    args
}

#[test]
fn nothing_given_is_a_server_for_this_machine() {
    let config = read(&ServeArgs::default(), &[]).unwrap();
    assert_eq!(config.addr.to_string(), "127.0.0.1:8080");
    assert!(matches!(&config.store, Store::Embedded(dir) if dir.ends_with("me/.engram-cloud")));
    assert_eq!(config.push_bytes_max, 8_388_608);
    assert!(config.token.is_none() && config.projects.is_none() && !config.insecure);
    assert_eq!(config.retention, Retention { superseded: DAY * 30, deleted: DAY });
}

#[test]
fn each_time_that_contents_stay_is_set_by_itself() {
    let read = |args: &ServeArgs| read(args, &[]).unwrap().retention;
    let superseded = read(&args(|a| a.keep_superseded_days = Some("90".into())));
    assert_eq!(superseded, Retention { superseded: DAY * 90, deleted: DAY });
    let deleted = read(&args(|a| a.keep_deleted_days = Some("0".into())));
    assert_eq!(deleted, Retention { superseded: DAY * 30, deleted: Duration::ZERO });
}

#[test]
fn what_does_not_parse_is_named_with_what_would() {
    let cases: [(ServeArgs, &str); 7] = [
        (args(|a| a.port = Some("http".into())), "ENGRAM_PORT (--port) is \"http\""),
        (args(|a| a.host = Some("example.test".into())), "ENGRAM_CLOUD_HOST (--host) is \"example.test\""),
        (args(|a| a.max_push_bytes = Some("8MB".into())), "ENGRAM_CLOUD_MAX_PUSH_BYTES"),
        (args(|a| a.keep_superseded_days = Some("-1".into())), "ENGRAM_CLOUD_KEEP_SUPERSEDED_DAYS"),
        (args(|a| a.keep_deleted_days = Some("12h".into())), "ENGRAM_CLOUD_KEEP_DELETED_DAYS (--keep-deleted-days)"),
        (args(|a| a.insecure_no_auth = Some("maybe".into())), "ENGRAM_CLOUD_INSECURE_NO_AUTH"),
        (args(|a| a.allowed_projects = Some(" , ".into())), "ENGRAM_CLOUD_ALLOWED_PROJECTS"),
    ];
    for (args, start) in cases {
        let said = read(&args, &[]).unwrap_err().to_string();
        assert!(said.starts_with(start) && said.contains("valid is") && !said.contains('\n'), "{said}");
    }
}

#[test]
fn weak_and_contradictory_settings_are_refused_without_showing_a_secret() {
    let all = args(|a| a.allowed_projects = Some("*".into()));
    let insecure = args(|a| a.insecure_no_auth = Some("1".into()));
    type Case<'a> = (&'a ServeArgs, &'a [(&'a str, &'a str)], &'a str);
    let postgres = |url: &str| args(|a| (a.database_url, a.allowed_projects) = (Some(url.into()), Some("*".into())));
    let (database, odd) = (postgres("postgres://x:password-of-it@z/db"), postgres("mysql://x:password-of-it@z/db"));
    let cases: [Case<'_>; 11] = [
        (&all, &[(setting::TOKEN, "short")], "5 bytes"),
        (&all, &[(setting::JWT_SECRET, "only-thirty-one-bytes-of-secret")], "31 bytes"),
        (&all, &[(setting::PEPPER, "short")], "ENGRAM_CLOUD_TOKEN_PEPPER"),
        (&all, &[(setting::JWT_SECRET, "engram-dev-jwt-secret-for-local-smoke-1234")], "well-known"),
        (&all, &[(setting::TOKEN, "with a space inside it")], "printable"),
        (&ServeArgs::default(), &[(setting::TOKEN, TOKEN)], "ENGRAM_CLOUD_ALLOWED_PROJECTS"),
        (&insecure, &[(setting::TOKEN, TOKEN)], "contradicts ENGRAM_CLOUD_TOKEN"),
        (&insecure, &[(setting::ADMIN, TOKEN)], "contradicts ENGRAM_CLOUD_ADMIN"),
        (&odd, &[(setting::TOKEN, TOKEN), (setting::JWT_SECRET, KEY)], "is no address of Postgres"),
        (&database, &[(setting::JWT_SECRET, KEY)], "without ENGRAM_CLOUD_TOKEN"),
        (&database, &[(setting::TOKEN, TOKEN)], "without ENGRAM_JWT_SECRET"),
    ];
    for (args, env, says) in cases {
        let said = read(args, env).unwrap_err().to_string();
        assert!(said.contains(says) && !said.contains('\n'), "{said}");
        assert!(env.iter().all(|(_, value)| !said.contains(value)) && !said.contains("password-of-it"), "{said}");
    }
}

/// SECRET-1: the address of a database is a secret as a whole; with one, no folder is needed.
#[test]
fn secret_1_a_database_is_used_and_not_shown() {
    let args = args(|a| {
        a.database_url = Some("postgres://me:password-of-it@db.example:5433/engram?sslmode=require".into());
        a.allowed_projects = Some("*".into());
    });
    let config = Config::read(&args, |name| match name {
        setting::TOKEN => Some(TOKEN.to_owned()),
        setting::JWT_SECRET => Some(KEY.to_owned()),
        _ => None,
    });
    let config = config.unwrap();
    assert!(matches!(&config.store, Store::Postgres(url) if url.options().get_port() == 5433));
    assert!(!format!("{config:?}").contains("password-of-it"));
}

#[test]
fn no_token_is_for_loopback_only() {
    let open = |host: &str| {
        args(|a| {
            a.insecure_no_auth = Some("yes".into());
            a.host = Some(host.into());
        })
    };
    assert!(read(&open("0.0.0.0"), &[]).unwrap_err().to_string().contains("loopback"));
    for host in ["127.0.0.2", "::1", "localhost", "[::1]"] {
        assert!(read(&open(host), &[]).unwrap().insecure, "{host}");
    }
}

#[test]
fn projects_are_read_in_normal_form() {
    let args = args(|a| a.allowed_projects = Some("My--Project, beta ,beta,".into()));
    let config = read(&args, &[(setting::TOKEN, TOKEN), (setting::JWT_SECRET, KEY)]).unwrap();
    let Some(Grant::Only(names)) = config.projects.clone() else { panic!("{config:?}") };
    assert_eq!(names.iter().map(ProjectName::as_str).collect::<Vec<_>>(), ["beta", "my-project"]);
    assert!(!format!("{config:?}").contains(TOKEN), "SECRET-1");
}
