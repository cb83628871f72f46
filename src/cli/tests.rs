//! Documents that are made from the definitions of the commands: man pages and completions, for packages.
//!
//! With `WXGATE_WRITE_DOCUMENTS=1` the test writes them anew; without, it fails where one differs.

use std::collections::BTreeMap;
use std::path::Path;

use clap::Command;
use clap_mangen::Man;

use super::*;
use crate::tests::assert_document;

#[test]
fn documents_are_made_from_the_commands() {
    let mut made = BTreeMap::new();
    for (shell, name) in [(Shell::Bash, "wxgate.bash"), (Shell::Zsh, "_wxgate"), (Shell::Fish, "wxgate.fish")]
    {
        let mut text = Vec::new();
        clap_complete::generate(shell, &mut Cli::command(), "wxgate", &mut text);
        made.insert(format!("completions/{name}"), text);
    }
    let mut commands = Cli::command().disable_help_subcommand(true);
    commands.build();
    man_pages(&commands, &mut made);
    let packaging = Path::new(env!("CARGO_MANIFEST_DIR")).join("packaging");
    for (name, text) in &made {
        assert_document(&format!("packaging/{name}"), std::str::from_utf8(text).unwrap());
    }
    for folder in ["completions", "man"] {
        for file in std::fs::read_dir(packaging.join(folder)).unwrap() {
            let name = format!("{folder}/{}", file.unwrap().file_name().to_string_lossy());
            assert!(made.contains_key(&name), "packaging/{name} belongs to no command");
        }
    }
}

/// A page for each command.
fn man_pages(command: &Command, made: &mut BTreeMap<String, Vec<u8>>) {
    // Without the version, which would change every page with each release.
    let man = Man::new(command.clone()).source("wxgate").manual("wxgate");
    let mut text = Vec::new();
    man.render_title(&mut text).unwrap();
    man.render_name_section(&mut text).unwrap();
    man.render_synopsis_section(&mut text).unwrap();
    man.render_description_section(&mut text).unwrap();
    man.render_options_section(&mut text).unwrap();
    if command.has_subcommands() {
        man.render_subcommands_section(&mut text).unwrap();
    }
    if command.get_after_help().is_some() {
        man.render_extra_section(&mut text).unwrap();
    }
    made.insert(format!("man/{}", man.get_filename()), text);
    for command in command.get_subcommands() {
        man_pages(command, made);
    }
}
