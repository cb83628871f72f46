//! What `cargo package` would publish: what is needed to build and to read, and nothing else.

use std::process::Command;

/// The files of a package, as cargo lists them.
fn listed(package: &str) -> Vec<String> {
    let mut cargo = Command::new(env!("CARGO"));
    cargo.args(["package", "--list", "--quiet", "--offline", "--allow-dirty", "--package", package]);
    let output = cargo.current_dir(env!("CARGO_MANIFEST_DIR")).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap().lines().map(str::to_owned).collect()
}

/// The package holds all of `needed`, sources, and nothing but that.
#[track_caller]
fn holds(package: &str, needed: &[&str]) {
    // Cargo adds the lock file and its own notes.
    const ALWAYS: [&str; 6] = [
        ".cargo_vcs_info.json",
        "Cargo.lock",
        "Cargo.toml",
        "Cargo.toml.orig",
        "LICENSE-APACHE",
        "LICENSE-MIT",
    ];
    let listed = listed(package);
    for file in ALWAYS[1..].iter().chain(needed) {
        assert!(listed.iter().any(|one| one == file), "{package} lacks {file}");
    }
    // The sources of the page for people are put into the program.
    let source =
        |file: &str| file.starts_with("src/") && [".rs", ".js", ".css"].iter().any(|end| file.ends_with(end));
    let odd: Vec<_> = listed
        .iter()
        .filter(|file| !source(file) && !ALWAYS.contains(&file.as_str()) && !needed.contains(&file.as_str()))
        .collect();
    assert!(odd.is_empty(), "{package} would publish {odd:?}");
}

#[test]
fn the_proxys_package_holds_what_belongs_there() {
    holds(
        "wxgate",
        &[
            "CHANGELOG.md",
            "README.md",
            "README.zh-CN.md",
            "examples/callers.toml",
            "examples/full.toml",
            "examples/minimal.toml",
            "src/admin/page/page.js",
            "src/admin/page/style.css",
            "src/main.rs",
        ],
    );
}

#[test]
fn the_sandboxs_package_holds_what_belongs_there() {
    // The certificates and licences are links into the work tree: their contents must be there, not the links.
    holds(
        "wxgate-sandbox",
        &[
            "README.md",
            "certs/ca.pem",
            "certs/server.key",
            "certs/server.pem",
            "certs/signing/app.key",
            "certs/signing/app.pub",
            "certs/signing/platform.key",
            "certs/signing/platform.pem",
            "src/code.png",
            "src/lib.rs",
        ],
    );
}

#[test]
fn the_files_that_the_packages_name_exist() {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
    let manifest: toml::Table = std::fs::read_to_string(root.join("Cargo.toml")).unwrap().parse().unwrap();
    let metadata = &manifest["package"]["metadata"];
    let assets = ["deb", "generate-rpm"].map(|kind| metadata[kind]["assets"].as_array().unwrap());
    for asset in assets.into_iter().flatten() {
        let source = asset.get("source").or_else(|| asset.get(0)).and_then(|source| source.as_str()).unwrap();
        // The program is there once it is built.
        let there = source == "target/release/wxgate"
            || glob::glob(root.join(source).to_str().unwrap()).unwrap().next().is_some();
        assert!(there, "the packages want {source}");
    }
}
