//! The faulty plugin is faulty where it is told to be, and nowhere else.
#![expect(clippy::unwrap_used, reason = "a test may panic")]

use std::{
    path::Path,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use pintle_contract::{CreateVolume, ErrorKind, MountId, VolumeDriver};
use pintle_sdk::Server;
use pintle_testkit::{
    client::PluginClient,
    faulty::{Call, Fault, Faulty, Script},
    volume::{Options, ReferenceDriver, conformance},
};
use pintle_wire::volume::Method;

fn volume(name: &str) -> CreateVolume {
    CreateVolume { name: name.to_owned(), ..CreateVolume::default() }
}

#[test]
fn scripts_are_read() {
    let script: Script = "mount=hang, list=slow:200ms*3 ,activate=err500:a:b,get=status:404".parse().unwrap();
    let expected = Script::new()
        .fault(Method::Mount, Fault::Hang)
        .times(Call::Volume(Method::List), Fault::Slow(Duration::from_millis(200)), 3)
        .fault(Method::Get, Fault::Status(404));
    let mut text = "mount=hang,list=slow:200ms*3,get=status:404".parse::<Script>().unwrap();
    assert_eq!(text, expected);
    assert_ne!(script, expected, "and the activation");
    text = "every=close".parse().unwrap();
    assert_eq!(text, Script::new().every(&Fault::Close));
    for wrong in ["mount", "mont=hang", "mount=hung", "mount=slow:x", "mount=hang*x"] {
        assert!(wrong.parse::<Script>().is_err(), "{wrong}");
    }
}

#[tokio::test]
async fn it_heals_and_keeps_a_journal() {
    let dir = tempfile::tempdir().unwrap();
    let (script, driver) = ("create=err500:later*2".parse().unwrap(), ReferenceDriver::temporary().unwrap());
    let plugin = Faulty::start(dir.path().join("f.sock"), Server::volume(driver.clone()), script).unwrap();
    let client = PluginClient::unix(plugin.socket()).budget(Duration::from_millis(200));
    for _ in 0..2 {
        assert_eq!(client.create(volume("v")).await.unwrap_err().message, "VolumeDriver.Create: later");
    }
    client.create(volume("v")).await.unwrap();
    plugin.script(Script::new().fault(Method::List, Fault::Hang));
    assert_eq!(client.list().await.unwrap_err().kind, ErrorKind::Timeout);
    plugin.script(Script::new());
    assert_eq!(client.list().await.unwrap().len(), 1);
    let calls: Vec<_> = [Method::Create; 3].into_iter().chain([Method::List; 2]).map(Call::Volume).collect();
    assert_eq!(plugin.calls(), calls);
}

#[tokio::test]
async fn half_an_answer_comes_after_the_deed() {
    let dir = tempfile::tempdir().unwrap();
    let (script, driver) =
        (Script::new().fault(Method::Mount, Fault::HalfBody), ReferenceDriver::temporary().unwrap());
    let plugin = Faulty::start(dir.path().join("f.sock"), Server::volume(driver.clone()), script).unwrap();
    let client = PluginClient::unix(plugin.socket());
    client.create(volume("v")).await.unwrap();
    let id = MountId("id".to_owned());
    assert!(client.mount("v", &id).await.is_err());
    assert_eq!(driver.holders("v"), [id]);
}

struct Program {
    dir: tempfile::TempDir,
    child: Child,
}

impl Program {
    fn start(env: &[(&str, &str)]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_faulty-volume"));
        command.env("FAULTY_SOCKET", dir.path().join("f.sock")).env("FAULTY_ROOT", dir.path().join("root"));
        command.env("FAULTY_FILE", dir.path().join("script")).envs(env.iter().copied());
        let child = command.stderr(Stdio::piped()).spawn().unwrap();
        Self { dir, child }
    }

    fn path(&self, name: &str) -> std::path::PathBuf {
        self.dir.path().join(name)
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

async fn appears(path: &Path) {
    let begun = Instant::now();
    while !path.exists() {
        assert!(begun.elapsed() < Duration::from_secs(10), "{} does not appear", path.display());
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    tokio::time::sleep(Duration::from_millis(20)).await;
}

#[tokio::test]
async fn the_program_does_as_its_environment_says() {
    let program = Program::start(&[]);
    appears(&program.path("f.sock")).await;
    let client = PluginClient::unix(program.path("f.sock"));
    let report = conformance(&client, &Options::default()).await;
    assert!(report.passed(), "{report}");
    std::fs::write(program.path("script"), "list=err200:from the file").unwrap();
    assert_eq!(client.list().await.unwrap_err().message, "from the file");
    std::fs::remove_file(program.path("script")).unwrap();
    assert!(client.list().await.is_ok());

    let mut program = Program::start(&[("FAULTY", "mount=die-after")]);
    appears(&program.path("f.sock")).await;
    let client = PluginClient::unix(program.path("f.sock"));
    client.create(volume("v")).await.unwrap();
    client.mount("v", &MountId("id".to_owned())).await.unwrap();
    assert_eq!(program.child.wait().unwrap().code(), Some(70));
}

#[tokio::test]
async fn the_program_starts_badly_in_every_way() {
    let mut program = Program::start(&[("FAULTY_START", "exit:3")]);
    assert_eq!(program.child.wait().unwrap().code(), Some(3));
    let mut text = String::new();
    std::io::Read::read_to_string(program.child.stderr.as_mut().unwrap(), &mut text).unwrap();
    assert!(text.contains("told to exit with code 3"));

    let program = Program::start(&[("FAULTY_START", "wrong-socket")]);
    appears(&program.path("another.sock")).await;
    assert!(!program.path("f.sock").exists());

    let program = Program::start(&[("FAULTY_START", "delay:300ms")]);
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert!(!program.path("f.sock").exists());
    appears(&program.path("f.sock")).await;

    let mut program = Program::start(&[("FAULTY_START", "never")]);
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert!(!program.path("f.sock").exists() && program.child.try_wait().unwrap().is_none());
}
