//! How release builds are compiled: what `.cargo/rustc` has the compiler do.

use std::path::{Path, PathBuf};
use std::process::Command;

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(".cargo")
}

/// The one profile, and the releases of rustc and LLVM that it was made with.
fn profile() -> (PathBuf, String, String) {
    let files = std::fs::read_dir(folder()).unwrap().map(|file| file.unwrap().path());
    let profiles: Vec<_> = files.filter(|file| file.extension().is_some_and(|e| e == "profdata")).collect();
    let [profile] = &profiles[..] else { panic!("one profile should be in .cargo, not {profiles:?}") };
    let name = profile.file_stem().unwrap().to_str().unwrap();
    let version = env!("CARGO_PKG_VERSION");
    let made_with = name.strip_prefix(&format!("wxgate-{version}-rustc-")).unwrap_or_else(|| {
        panic!(
            "{name} fits another version than {version}: its functions have other names; run benches/profile"
        )
    });
    let (rustc, llvm) = made_with.split_once("-llvm-").unwrap();
    (profile.clone(), rustc.to_owned(), llvm.to_owned())
}

/// What a compiler of these releases is told.
fn told(rustc: &str, llvm: &str, counts: &str, arguments: &[&str]) -> Vec<String> {
    let compiler = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/support/compiler.sh");
    let ended = Command::new(folder().join("rustc"))
        .arg(compiler)
        .args(arguments)
        .envs([("RELEASE", rustc), ("LLVM", llvm), ("WXGATE_COUNTS", counts)])
        .output()
        .unwrap();
    assert!(ended.status.success() && ended.stderr.is_empty(), "{ended:?}");
    let more: Vec<String> = String::from_utf8(ended.stdout).unwrap().lines().map(str::to_owned).collect();
    let (same, more) = more.split_at(arguments.len());
    assert_eq!(same, arguments);
    more.to_vec()
}

#[test]
fn optimised_code_is_compiled_from_the_profile_by_the_compiler_it_was_made_with() {
    let (profile, rustc, llvm) = profile();
    let optimised = ["--crate-name", "a b", "-C", "opt-level=3", "$HOME"];
    let from_profile = format!("-Cprofile-use={}", profile.display());
    assert_eq!(
        told(&rustc, &llvm, "", &optimised),
        [from_profile.as_str(), "-Cllvm-args=-no-pgo-warn-mismatch"]
    );
    let without = ["-Cllvm-args=-inline-threshold=600"];
    assert_eq!(told("1.0.0", &llvm, "", &optimised), without);
    assert_eq!(told(&rustc, "1.0.0", "", &optimised), without);
    // There the names of functions are others.
    let elsewhere = ["--target", "x86_64-unknown-linux-musl", "-C", "opt-level=3"];
    assert_eq!(told(&rustc, &llvm, "", &elsewhere), without);
    assert_eq!(told(&rustc, &llvm, "/a b", &optimised), ["-Cprofile-generate=/a b"]);
}

#[test]
fn other_code_is_compiled_as_cargo_says() {
    let (_, rustc, llvm) = profile();
    for arguments in [&["--crate-name", "tests", "-C", "debuginfo=2"][..], &["-C", "opt-level=0"], &["-V"]] {
        for counts in ["", "/counts"] {
            assert_eq!(told(&rustc, &llvm, counts, arguments), <[&str; 0]>::default());
        }
    }
}
