//! `twinline completions SHELL`.

use clap::CommandFactory;
use clap_complete::Shell;

use super::exit::{Exit, Failure};
use super::{Arguments, Global};

#[derive(Clone, Debug, clap::Args)]
pub(super) struct CompletionsArgs {
    /// The shell
    #[arg(value_enum)]
    shell: Shell,
}

pub(super) fn run(global: &Global, args: &CompletionsArgs) -> Result<Exit, Failure> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Arguments::command(), "twinline", &mut script);
    let text = String::from_utf8_lossy(&script);
    let talk = global.talk();
    talk.data(&text)?;
    talk.next(install_hint(args.shell));
    Ok(Exit::Success)
}

fn install_hint(shell: Shell) -> &'static str {
    match shell {
        Shell::Bash => "twinline completions bash > ~/.local/share/bash-completion/completions/twinline",
        Shell::Zsh => "twinline completions zsh > \"${fpath[1]}/_twinline\"",
        Shell::Fish => "twinline completions fish > ~/.config/fish/completions/twinline.fish",
        Shell::PowerShell => "twinline completions powershell >> $PROFILE",
        _ => "put the script where your shell looks for completions",
    }
}
