//! The manual and the completions: the command line's own help in the forms that packages carry.

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use clap::CommandFactory as _;
use clap_complete::Shell;
use clap_mangen::Man;
use clap_mangen::roff::{Roff, roman};
use efd_edge_inspect::InspectError;

use crate::cli::Cli;

const MANUAL: &str = "Engineering and Facilities Database";

pub(crate) fn completions(shell: Shell, out: &mut impl Write) -> io::Result<()> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut command(), "efd-inspect", &mut script);
    let mut script = String::from_utf8_lossy(&script).into_owned();
    if shell == Shell::Bash {
        // A hyphen in the program's name is written in two ways, so that no subcommand is recognised (clap#6421).
        script = script.replace("efd__subcmd__inspect", "efd__inspect");
    }
    out.write_all(script.as_bytes())
}

/// Everything in one page: subcommands are sections.
pub(crate) fn page(out: &mut impl Write) -> io::Result<()> {
    let command = command();
    let mut page = Vec::new();
    let man = man(&command);
    man.render_title(&mut page)?;
    man.render_name_section(&mut page)?;
    man.render_synopsis_section(&mut page)?;
    man.render_description_section(&mut page)?;
    man.render_options_section(&mut page)?;
    notes(&command, &mut page)?;
    for subcommand in command.get_subcommands() {
        section(subcommand, &mut page)?;
    }
    out.write_all(&page)
}

/// A page of its own for each, as `man efd-inspect-cat` looks for it.
pub(crate) fn pages(folder: &Path) -> Result<Vec<PathBuf>, InspectError> {
    let wrong = |path: &Path| {
        let path = path.to_owned();
        |source| InspectError::Export { path, source }
    };
    fs::create_dir_all(folder).map_err(wrong(folder))?;
    let command = command();
    let mut written = Vec::new();
    for command in std::iter::once(&command).chain(command.get_subcommands()) {
        let man = man(command);
        let path = folder.join(man.get_filename());
        let text = own_page(command, &man).map_err(wrong(&path))?;
        fs::write(&path, text).map_err(wrong(&path))?;
        written.push(path);
    }
    Ok(written)
}

/// `help` would be a section that tells nothing.
fn command() -> clap::Command {
    let mut command = Cli::command()
        .disable_help_subcommand(true)
        .subcommand_value_name("COMMAND");
    command.build();
    command
}

fn man(command: &clap::Command) -> Man {
    let version = concat!("efd-inspect ", env!("CARGO_PKG_VERSION"));
    let name = command.get_display_name().unwrap_or("efd-inspect");
    Man::new(command.clone())
        .title(name.to_uppercase())
        .source(version)
        .manual(MANUAL)
}

fn own_page(command: &clap::Command, man: &Man) -> io::Result<Vec<u8>> {
    let mut page = Vec::new();
    man.render_title(&mut page)?;
    man.render_name_section(&mut page)?;
    man.render_synopsis_section(&mut page)?;
    man.render_description_section(&mut page)?;
    man.render_options_section(&mut page)?;
    if command.has_subcommands() {
        man.render_subcommands_section(&mut page)?;
    }
    notes(command, &mut page)?;
    Ok(page)
}

/// What stands below the options in `--help`, line by line: it has columns.
fn notes(command: &clap::Command, page: &mut Vec<u8>) -> io::Result<()> {
    let help = command
        .get_after_long_help()
        .or_else(|| command.get_after_help());
    let Some(help) = help else {
        return Ok(());
    };
    let mut roff = Roff::new();
    roff.control("SH", ["NOTES"]).control("nf", []);
    for line in help.to_string().lines() {
        // An empty line is one to roff, too.
        roff.text([roman(line)]);
    }
    roff.control("fi", []).to_writer(page)
}

/// A page as a section of another: its sections become subsections, its title and name the heading.
fn section(command: &clap::Command, page: &mut Vec<u8>) -> io::Result<()> {
    let man = man(command);
    let name = command.get_bin_name().unwrap_or_else(|| command.get_name());
    Roff::new().control("SH", [name]).to_writer(page)?;
    let mut parts = Vec::new();
    man.render_synopsis_section(&mut parts)?;
    man.render_description_section(&mut parts)?;
    man.render_options_section(&mut parts)?;
    notes(command, &mut parts)?;
    // Text never begins a line with a dot: roff's own are escaped.
    for line in parts.split_inclusive(|&byte| byte == b'\n') {
        match line.strip_prefix(b".SH ") {
            Some(heading) => {
                page.extend_from_slice(b".SS ");
                page.extend_from_slice(heading);
            }
            None => page.extend_from_slice(line),
        }
    }
    Ok(())
}
