//! The programs in `benches/`: what can be known of them without measuring anything.
//!
//! They need `python3`; without it these tests fail and say what to install. The steps' benchmark is a test of
//! its own (`cargo test --bench steps`), for `tests/run`.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::{Value, json};

fn file(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("benches").join(name)
}

fn python() -> Command {
    Command::new("python3")
}

fn run(command: &mut Command) -> Output {
    command.output().unwrap_or_else(|e| panic!("{command:?}: {e}; install python3"))
}

/// What a program prints that ends well.
fn printed(command: &mut Command) -> String {
    let ended = run(command);
    assert!(ended.status.success() && ended.stderr.is_empty(), "{ended:?}");
    String::from_utf8(ended.stdout).unwrap()
}

#[test]
fn the_run_from_end_to_end_says_what_it_can_do() {
    let help = printed(python().arg(file("end-to-end")).arg("--help"));
    for said in ["--rounds", "--seconds", "--pin", "--json", "--proxies", "--check", "Not measured"] {
        assert!(help.contains(said), "{said} is missing:\n{help}");
    }
}

#[test]
fn the_runs_with_many_accounts_and_replicas_say_what_they_can_do() {
    let help = printed(python().arg(file("scale")).arg("--help"));
    assert!(help.contains("accounts") && help.contains("store"), "{help}");
}

#[test]
fn a_missing_tool_ends_the_run_with_the_line_that_installs_it() {
    let python = printed(python().args(["-c", "import sys; print(sys.executable)"]));
    let empty = tempfile::tempdir().unwrap();
    let ended = run(Command::new(python.trim()).arg(file("end-to-end")).env("PATH", empty.path()));
    let said = String::from_utf8(ended.stderr).unwrap();
    assert_eq!(ended.status.code(), Some(1), "{said}");
    let line = said.lines().find(|line| line.contains("apt-get install")).unwrap();
    assert!(line.contains("wrk") && ended.stdout.is_empty(), "{said}");
}

#[test]
fn unknown_proxies_are_refused() {
    for proxies in ["nginx,apache", "nginx,nginx", ""] {
        let ended = run(python().arg(file("end-to-end")).args(["--proxies", proxies]));
        assert_eq!(ended.status.code(), Some(2), "{proxies:?}: {ended:?}");
    }
}

/// Two rounds, the second on a machine that has become half as fast; wxgate takes half of nginx's CPU in the first
/// and as much in the second.
fn sample() -> Value {
    let run = |workload: &str, proxy: &str, round: u32, rate: f64, cpu: f64, memory: Value| {
        json!({"workload": workload, "proxy": proxy, "round": round, "requests_per_second": rate,
               "cpu_seconds_per_10k": cpu, "peak_mib": memory, "others": 0.04})
    };
    let runs = ["get", "get-close", "post", "download", "upload"].map(|workload| {
        [
            run(workload, "nginx", 0, 1000.0, 0.2, json!(8.0)),
            run(workload, "wxgate", 0, 2000.0, 0.1, Value::Null),
            run(workload, "wxgate", 1, 1000.0, 0.4, Value::Null),
            run(workload, "nginx", 1, 500.0, 0.4, json!(10.0)),
        ]
    });
    json!({"date": "2026-11-21", "machine": {"cpu": "A & B", "cores": 2, "kernel": "6.1"}, "mode": "pinned",
           "rounds": 2, "seconds": 3, "versions": {"nginx": "1.22.1", "wxgate": "0.1.0"}, "reference": "nginx",
           "runs": runs.concat()})
}

#[test]
fn ratios_are_those_of_the_same_round() {
    let dir = tempfile::tempdir().unwrap();
    let result = dir.path().join("result.json");
    std::fs::write(&result, sample().to_string()).unwrap();
    let table = printed(python().arg(file("chart.py")).arg("--table").arg(&result));
    let rows: Vec<&str> = table.lines().filter(|line| line.starts_with("| POST")).collect();
    assert_eq!(
        rows,
        [
            "| POST of 300 bytes | nginx | 750 | 1 | 0.300 | 1 | 9.0 | 1 |",
            "| POST of 300 bytes | wxgate | 1500 | 2.00 (2.00–2.00) | 0.250 | 0.75 (0.50–1.00) | – | – |",
        ],
    );
    let chart = printed(python().arg(file("chart.py")).arg(&result));
    assert!(chart.starts_with("<svg ") && chart.ends_with("</svg>\n"), "{chart}");
    for said in ["A &amp; B", "POST of 300 bytes", ">0.75<", ">2.00<", "prefers-color-scheme: dark"] {
        assert!(chart.contains(said), "{said} is missing:\n{chart}");
    }
}

#[test]
fn the_chart_and_the_table_that_are_shown_are_those_of_the_result() {
    let dir = tempfile::tempdir().unwrap();
    for name in ["result.json", "README.md"] {
        std::fs::copy(file(name), dir.path().join(name)).unwrap();
    }
    printed(python().arg(file("chart.py")).arg("--update").arg(dir.path().join("result.json")));
    for name in ["result.svg", "README.md"] {
        let (shown, made) = (std::fs::read(file(name)), std::fs::read(dir.path().join(name)));
        assert!(
            shown.unwrap() == made.unwrap(),
            "benches/{name} is not of benches/result.json; run: benches/chart.py --update benches/result.json"
        );
    }
}
