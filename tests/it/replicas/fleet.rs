//! `examples/fleet/fleet.py`: no caller of three replicas gets an error while they and Redis are killed and cut off.

use std::path::Path;
use std::process::Command;

#[tokio::test]
async fn the_fleet_of_the_examples_serves_for_twenty_seconds_without_an_error() {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/fleet/fleet.py");
    let mut fleet = Command::new("python3");
    fleet.arg(script).args(["--seconds", "20", "--wxgate", env!("CARGO_BIN_EXE_wxgate")]);
    let ended = tokio::task::spawn_blocking(move || fleet.output().unwrap()).await.unwrap();
    let said = String::from_utf8_lossy(&ended.stdout).into_owned() + &String::from_utf8_lossy(&ended.stderr);
    assert!(ended.status.success() && said.contains("errors at callers   0"), "{said}");
}
