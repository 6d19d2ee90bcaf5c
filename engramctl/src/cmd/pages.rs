//! `engramctl completions` and `engramctl man`: made of the command line itself, without a daemon.

use crate::cli::Cli;
use crate::exit::CtlError;
use crate::out::Out;
use clap::{Args, CommandFactory as _};
use clap_complete::Shell;
use clap_mangen::Man;
use engram_proto::reason::Exit;
use serde_json::json;
use std::io;
use std::path::{Path, PathBuf};

const NAME: &str = "engramctl";

pub(crate) const COMPLETIONS_EXAMPLES: &str = "\
Examples:
  source <(engramctl completions bash)     # in ~/.bashrc
  engramctl completions zsh > ~/.zfunc/_engramctl
  engramctl completions fish > ~/.config/fish/completions/engramctl.fish

Needs no daemon. A new shell takes it up.";
pub(crate) const MAN_EXAMPLES: &str = "\
Examples:
  engramctl man | man -l -
  engramctl man --dir ~/.local/share/man/man1

Needs no daemon.";

#[derive(Debug, Args)]
pub(crate) struct CompletionsArgs {
    /// For which shell
    #[arg(value_name = "SHELL", value_enum)]
    shell: Shell,
}

#[derive(Debug, Args)]
pub(crate) struct ManArgs {
    /// Write a page per command into this directory instead, making it if need be
    #[arg(long, value_name = "D")]
    dir: Option<PathBuf>,
}

/// Prints the completions of a shell.
pub(crate) fn completions(args: &CompletionsArgs, out: &mut Out) -> Result<Exit, CtlError> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), NAME, &mut script);
    out.text(&String::from_utf8_lossy(&script))?;
    Ok(Exit::Done)
}

/// Prints the whole manual, or writes its pages.
pub(crate) fn man(args: ManArgs, out: &mut Out) -> Result<Exit, CtlError> {
    let Some(dir) = args.dir else {
        if out.json {
            return Err(CtlError::usage("the manual is a page, not an object", "engramctl man --dir DIR --json"));
        }
        let page = whole(Cli::command()).map_err(CtlError::Output)?;
        out.text(&page)?;
        return Ok(Exit::Done);
    };
    let pages = pages(&dir).map_err(|error| {
        let message = format!("cannot write the pages into {}: {error}", dir.display());
        CtlError::Pages { message, hint: "engramctl man --dir DIR, with a directory that you may write to".to_owned() }
    })?;
    let said = format!("{pages} pages in {}\n", dir.display());
    out.answer(&json!({ "pages": pages, "dir": dir }), |_| said)?;
    Ok(Exit::Done)
}

fn pages(dir: &Path) -> io::Result<usize> {
    std::fs::create_dir_all(dir)?;
    clap_mangen::generate_to(Cli::command().disable_help_subcommand(true), dir)?;
    let mut command = Cli::command().disable_help_subcommand(true);
    command.build();
    Ok(count(&command))
}

fn count(command: &clap::Command) -> usize {
    1 + command.get_subcommands().map(count).sum::<usize>()
}

/// Renders one page with every command in it.
fn whole(command: clap::Command) -> io::Result<String> {
    let mut command = command.disable_help_subcommand(true);
    command.build();
    let man = Man::new(command.clone());
    let mut page = Vec::new();
    man.render_title(&mut page)?;
    // Examples stand in columns, which justified lines would tear apart.
    page.extend_from_slice(b".ad l\n.nh\n");
    man.render_name_section(&mut page)?;
    man.render_synopsis_section(&mut page)?;
    man.render_description_section(&mut page)?;
    man.render_options_section(&mut page)?;
    let mut text = String::from_utf8_lossy(&page).into_owned() + ".SH COMMANDS\n";
    for command in command.get_subcommands() {
        text += &sections(command)?;
    }
    let mut end = Vec::new();
    man.render_extra_section(&mut end)?;
    Ok(text + &String::from_utf8_lossy(&end))
}

/// Renders a command, and those below it, as sections of the one page; what holds for every command stands once above.
fn sections(command: &clap::Command) -> io::Result<String> {
    if command.has_subcommands() {
        return command.get_subcommands().map(sections).collect();
    }
    let own = |argument: clap::Arg| {
        let shared = argument.is_global_set() || argument.get_id() == "help";
        argument.hide(shared)
    };
    let man = Man::new(command.clone().mut_args(own));
    let mut page = Vec::new();
    man.render_description_section(&mut page)?;
    man.render_synopsis_section(&mut page)?;
    man.render_options_section(&mut page)?;
    man.render_extra_section(&mut page)?;
    let name = command.get_bin_name().unwrap_or(command.get_name());
    let mut text = format!(".SS \"{name}\"\n");
    for line in String::from_utf8_lossy(&page).lines() {
        // Each part comes with a heading of a whole page, and with what a page begins with.
        match line {
            heading if heading.starts_with(".SH") => text += ".PP\n",
            preamble if preamble.starts_with(".ie ") || preamble.starts_with(".el ") => {}
            line => text += &format!("{line}\n"),
        }
    }
    Ok(text)
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    fn leaves(command: &clap::Command) -> Vec<String> {
        if command.has_subcommands() {
            return command.get_subcommands().flat_map(leaves).collect();
        }
        vec![command.get_bin_name().unwrap().to_owned()]
    }

    /// Everything that can be asked for is in the one page, and what is shared stands there once.
    #[test]
    fn the_whole_manual_names_every_command() {
        let page = whole(Cli::command()).unwrap();
        let mut command = Cli::command().disable_help_subcommand(true);
        command.build();
        let leaves = leaves(&command);
        assert!(leaves.len() > 25, "{leaves:?}");
        for leaf in leaves {
            assert!(page.contains(&format!(".SS \"{leaf}\"\n")), "{leaf}");
        }
        assert_eq!(page.matches("data\\-dir\\fR").count(), 2, "in the synopsis and among the options");
        assert!(page.contains("Exit codes:"));
    }

    #[test]
    fn every_page_has_a_file() {
        let directory = tempfile::tempdir().unwrap();
        let dir = directory.path().join("man/man1");
        let written = pages(&dir).unwrap();
        assert_eq!(std::fs::read_dir(&dir).unwrap().count(), written);
        let page = std::fs::read_to_string(dir.join("engramctl-conflicts-restore.1")).unwrap();
        assert!(page.contains("engramctl conflicts restore 3"), "{page}");
    }
}
