//! The README's first command.

use std::process::Command;

use crate::harness::{PINTLE, processes_naming};

#[test]
fn quickstart_does_the_main_job_and_leaves_nothing() {
    let dir = tempfile::Builder::new().prefix("pintle-quickstart-").tempdir_in("/tmp").unwrap();
    let output = Command::new("timeout")
        .args(["120", PINTLE, "quickstart"])
        .env("TMPDIR", dir.path())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{said}\n{}", String::from_utf8_lossy(&output.stderr));
    for step in ["plugin new", "plugin build", "plugin enable", "volume create", "run"] {
        assert!(said.contains(step), "{step} is shown in\n{said}");
    }
    assert_eq!(
        std::fs::read_dir(dir.path()).unwrap().count(),
        0,
        "nothing is left in {}",
        dir.path().display()
    );
    assert_eq!(processes_naming(dir.path()), Vec::new());
}
