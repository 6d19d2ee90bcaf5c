//! Which project the working directory belongs to, where none is given.

use crate::chunks::place::config;
use crate::exit::CtlError;
use std::path::{Path, PathBuf};

/// Returns the working directory.
pub(crate) fn working_directory() -> Result<PathBuf, CtlError> {
    std::env::current_dir().map_err(|error| CtlError::Input(format!("there is no working directory: {error}")))
}

/// Returns the project that was given, or else the directory's.
pub(crate) fn given_or_detected(given: Option<String>, directory: &Path) -> Result<String, CtlError> {
    let found = if given.is_some() { given } else { detect(directory)? };
    found.ok_or_else(|| {
        let message = format!("{} is in no project: give one with --project", directory.display());
        CtlError::usage(message, "engramctl projects")
    })
}

/// Asks the nearest `.engram/config.json` inside the git root, then the remote `origin`, the git root's name and the
/// directory's own, as the peer does.
fn detect(directory: &Path) -> Result<Option<String>, CtlError> {
    let Some(root) = directory.ancestors().find(|ancestor| ancestor.join(".git").exists()) else {
        return Ok(base_name(directory));
    };
    for inside in directory.ancestors().take_while(|ancestor| ancestor.starts_with(root)) {
        if let Some(name) = named_project(inside)? {
            return Ok(Some(name));
        }
    }
    let repository = origin_url(root).as_deref().and_then(repository_name);
    Ok(repository.or_else(|| base_name(root)).or_else(|| base_name(directory)))
}

fn base_name(path: &Path) -> Option<String> {
    path.file_name().map(|name| name.to_string_lossy().into_owned()).filter(|name| !name.trim().is_empty())
}

fn named_project(directory: &Path) -> Result<Option<String>, CtlError> {
    let Some(text) = config(directory)? else { return Ok(None) };
    let config: serde_json::Value = serde_json::from_slice(&text).unwrap_or_default();
    let name = config.get("project_name").and_then(serde_json::Value::as_str).unwrap_or_default().trim();
    Ok(Some(name.to_owned()).filter(|name| !name.is_empty()))
}

/// Finds the git configuration that a work tree shares with its repository.
fn git_config(root: &Path) -> Option<PathBuf> {
    let git = root.join(".git");
    if git.is_dir() {
        return Some(git.join("config"));
    }
    let pointer = std::fs::read_to_string(&git).ok()?;
    let own = root.join(pointer.strip_prefix("gitdir:")?.trim());
    let common = match std::fs::read_to_string(own.join("commondir")) {
        Ok(common) => own.join(common.trim()),
        Err(_) => own,
    };
    Some(common.join("config"))
}

fn origin_url(root: &Path) -> Option<String> {
    let config = std::fs::read_to_string(git_config(root)?).ok()?;
    let mut in_origin = false;
    let mut url = None;
    for line in config.lines().map(str::trim) {
        if let Some(section) = line.strip_prefix('[') {
            let section: String = section.split_whitespace().collect();
            in_origin = section.to_ascii_lowercase().starts_with("remote\"origin\"]");
        } else if let Some((key, value)) = line.split_once('=').filter(|_| in_origin)
            && key.trim().eq_ignore_ascii_case("url")
            && url.is_none()
        {
            url = Some(value.trim().trim_matches('"').to_owned());
        }
    }
    url
}

/// Takes the last part of an ssh, https or file URL, without `.git`.
fn repository_name(url: &str) -> Option<String> {
    let url = url.trim_end_matches('/');
    let url = url.strip_suffix("/.git").unwrap_or(url);
    let last = url.rsplit(['/', ':', '\\']).next()?;
    let name = last.strip_suffix(".git").unwrap_or(last).trim();
    (!name.is_empty()).then(|| name.to_owned())
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;
    use std::fs;

    const NAMED_IN: &str = ".engram/config.json";

    fn write(path: &Path, text: &str) {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    #[test]
    fn urls_name_their_repository() {
        for url in [
            "git@github.com:org/app.git",
            "ssh://git@host:2222/org/app",
            "https://host/org/app.git/",
            "git@host:app.git",
            "/srv/git/app.git",
            "/srv/app/.git",
            "C:\\src\\app",
        ] {
            assert_eq!(repository_name(url).as_deref(), Some("app"), "{url}");
        }
        assert_eq!(repository_name(".git"), None);
    }

    #[test]
    fn the_nearest_name_wins_then_origin_then_the_root() {
        let temp = tempfile::tempdir().unwrap();
        let root = temp.path().join("checkout");
        let deep = root.join("a/b");
        fs::create_dir_all(&deep).unwrap();
        assert_eq!(detect(&deep).unwrap().as_deref(), Some("b"), "no git: the directory's own name");

        write(&root.join(".git/config"), "[core]\n\tbare = false\n");
        assert_eq!(detect(&deep).unwrap().as_deref(), Some("checkout"));

        let remotes = "[remote \"other\"]\n url = git@h:x/other.git\n[remote \"origin\"]\n\turl = git@h:x/app.git\n";
        write(&root.join(".git/config"), remotes);
        assert_eq!(detect(&deep).unwrap().as_deref(), Some("app"));

        write(&temp.path().join(NAMED_IN), r#"{"project_name":"outside"}"#);
        write(&root.join(NAMED_IN), r#"{"project_name":" Named "}"#);
        assert_eq!(detect(&deep).unwrap().as_deref(), Some("Named"));
        write(&root.join("a").join(NAMED_IN), r#"{"project_name":""}"#);
        assert_eq!(detect(&deep).unwrap().as_deref(), Some("Named"), "a blank name is none");

        // A file that leads elsewhere, or never ends, is named and not read.
        fs::remove_file(root.join(NAMED_IN)).unwrap();
        std::os::unix::fs::symlink("/dev/zero", root.join(NAMED_IN)).unwrap();
        assert!(detect(&deep).unwrap_err().to_string().contains("symbolic link"));
    }

    #[test]
    fn a_work_tree_shares_its_repositorys_origin() {
        let temp = tempfile::tempdir().unwrap();
        let main = temp.path().join("main");
        write(&main.join(".git/config"), "[remote \"origin\"]\nurl = https://h/o/app\n");
        write(&main.join(".git/worktrees/w/commondir"), "../..\n");
        let tree = temp.path().join("w");
        write(&tree.join(".git"), &format!("gitdir: {}\n", main.join(".git/worktrees/w").display()));
        assert_eq!(detect(&tree).unwrap().as_deref(), Some("app"));
    }

    #[test]
    fn what_is_given_wins() {
        assert_eq!(given_or_detected(Some("p".to_owned()), Path::new("/")).unwrap(), "p");
        assert_eq!(given_or_detected(None, Path::new("/")).unwrap_err().exit().code(), 2);
    }
}
