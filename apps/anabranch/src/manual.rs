//! Manual pages and completions of shells, made from the command line itself: they cannot tell of
//! anything that is not there.

use std::io::{self, Write};
use std::path::{Path, PathBuf};

use clap::{Args, Command};
use clap_complete::Shell;

use crate::cli::Failure;

/// Write the manual pages into a directory.
#[derive(Args, Debug, Clone)]
#[command(after_help = "Example:\n  sudo anabranch man /usr/local/share/man/man1")]
pub struct ManArgs {
    /// The directory, which is made if need be
    #[arg(value_name = "DIR")]
    pub dir: PathBuf,
}

/// Print the completions of a shell.
#[derive(Args, Debug, Clone)]
#[command(after_help = "Example:\n  \
    anabranch completions bash | sudo tee /usr/share/bash-completion/completions/anabranch")]
pub struct CompletionsArgs {
    /// bash, zsh, fish, elvish or powershell
    #[arg(value_name = "SHELL")]
    pub shell: Shell,
}

/// Writes a page for each command.
///
/// # Errors
/// One line: a page cannot be written.
pub fn man(args: &ManArgs, command: Command) -> Result<(), Failure> {
    let failed = |error: io::Error| Failure::Failed(format!("{}: {error}", args.dir.display()));
    std::fs::create_dir_all(&args.dir).map_err(failed)?;
    pages(&args.dir, command).map_err(failed)
}

fn pages(dir: &Path, mut command: Command) -> io::Result<()> {
    command = command.disable_help_subcommand(true);
    command.build();
    clap_mangen::generate_to(command, dir)
}

/// Prints the completions.
///
/// # Errors
/// One line: they cannot be printed.
pub fn completions(args: &CompletionsArgs, mut command: Command) -> Result<(), Failure> {
    let mut text = Vec::new();
    let name = command.get_name().to_owned();
    clap_complete::generate(args.shell, &mut command, name, &mut text);
    match io::stdout().write_all(&text) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(Failure::Failed(format!("cannot print: {error}")))
        }
        _ => Ok(()),
    }
}
