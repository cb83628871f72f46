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
    for said in
        ["--rounds", "--seconds", "--pin", "--json", "--proxies", "--loads", "--check", "Not measured"]
    {
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
fn unknown_proxies_and_loads_are_refused() {
    // nginx-lua is not measured under every load, and so nothing can be held against it there.
    for options in [
        ["--proxies", "nginx,apache"],
        ["--proxies", "nginx,nginx"],
        ["--proxies", ""],
        ["--proxies", "nginx-lua"],
        ["--loads", "get,ftp"],
    ] {
        let ended = run(python().arg(file("end-to-end")).args(options));
        assert_eq!(ended.status.code(), Some(2), "{options:?}: {ended:?}");
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
    for said in ["A &amp; B", "POST of 300 bytes", ">0.75<", "prefers-color-scheme: dark"] {
        assert!(chart.contains(said), "{said} is missing:\n{chart}");
    }
}

#[test]
fn many_callers_and_calls_from_php_are_shown_where_they_were_measured() {
    let dir = tempfile::tempdir().unwrap();
    let result = dir.path().join("result.json");
    let mut sample = sample();
    let runs = sample["runs"].as_array_mut().unwrap();
    for run in runs.iter_mut().filter(|run| run["workload"] == "get") {
        run["p99_ms"] = json!(4.0);
        run["callers"] = json!(64);
        run["errors"] = json!(0);
    }
    runs.push(json!({"workload": "get-1000", "proxy": "wxgate", "round": 0, "requests_per_second": 48000.0,
        "cpu_seconds_per_10k": 0.5, "peak_mib": 40.0, "others": 0.04, "callers": 1000, "p99_ms": 31.0, "errors": 2}));
    sample["php"] = json!({"version": "8.2.1", "round_trip_ms": 30.0,
        "rounds": [{"direct": [95.0, 97.0], "wxgate": [33.0, 34.0]}]});
    std::fs::write(&result, sample.to_string()).unwrap();
    let table = printed(python().arg(file("chart.py")).arg("--table").arg(&result));
    for row in [
        "| 64 | wxgate | 1500 | 4.0 | 0.250 | 1.0 | – | 0 |",
        "| 1,000 | wxgate | 48000 | 31.0 | 0.500 | 2.0 | 40 | 2 |",
        "| direct | 96.0 | 95.0 | 97.0 |",
        "| through wxgate | 33.5 | 33.0 | 34.0 |",
    ] {
        assert!(table.lines().any(|line| line == row), "{row} is missing:\n{table}");
    }
    let chart = printed(python().arg(file("chart.py")).arg(&result));
    for said in [">48,000, 31 ms, 2 errors<", ">1,000 callers<", ">96<", ">through wxgate<"] {
        assert!(chart.contains(said), "{said} is missing:\n{chart}");
    }
}

#[test]
fn the_chart_and_the_tables_that_are_shown_are_those_of_the_result() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::create_dir(dir.path().join("benches")).unwrap();
    const SHOWN: [&str; 5] =
        ["../README.md", "../README.zh-CN.md", "README.md", "result.svg", "result.zh-CN.svg"];
    let made = |name: &str| dir.path().join("benches").join(name);
    for name in ["result.json"].iter().chain(&SHOWN[..3]) {
        std::fs::copy(file(name), made(name)).unwrap();
    }
    printed(python().arg(file("chart.py")).arg("--update").arg(made("result.json")));
    for name in SHOWN {
        assert!(
            std::fs::read(file(name)).unwrap() == std::fs::read(made(name)).unwrap(),
            "benches/{name} is not of benches/result.json; run: benches/chart.py --update benches/result.json"
        );
    }
}
