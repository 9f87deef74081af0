//! Completion in real shells on a real terminal: the user types a beginning and a tab, and the command that runs got
//! the whole name.

use std::{
    io::{Read, Write},
    process::{Command, Stdio},
    sync::{Arc, Mutex},
    time::Duration,
};

use crate::{
    harness::{Client, Engine, Kind, eventually},
    package::install,
};

/// Types lines into an interactive shell and waits for what they must print.
fn types(engine: &Engine, shell: &str, lines: &[(&str, &str)]) {
    let home = engine.dir.join("home");
    let mut child = Command::new("script")
        .args(["-qfec", shell, "/dev/null"])
        .current_dir(&engine.dir)
        .env_clear()
        .env("PATH", format!("{}:/usr/bin:/bin", home.join("bin").display()))
        .env("HOME", &home)
        .env("TERM", "vt100")
        .env("DOCKER_HOST", format!("unix://{}", engine.socket().display()))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("apt-get install bsdutils");
    let (mut typed, mut shown) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
    let screen = Arc::new(Mutex::new(String::new()));
    let reader = std::thread::spawn({
        let screen = Arc::clone(&screen);
        move || {
            let mut bytes = [0; 4096];
            while let Ok(amount @ 1..) = shown.read(&mut bytes) {
                screen.lock().unwrap().push_str(&String::from_utf8_lossy(&bytes[..amount]));
            }
        }
    });
    let told = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        for (line, printed) in lines {
            // What is typed is on the screen, too: only what comes after it counts.
            let before = screen.lock().unwrap().len();
            typed.write_all(line.as_bytes()).unwrap();
            eventually(&format!("{printed:?} after {line:?} in {shell}"), Duration::from_secs(30), || {
                screen.lock().unwrap()[before..].contains(printed)
            });
        }
    }));
    let _ = child.kill();
    let _ = child.wait();
    let _ = reader.join();
    if told.is_err() {
        panic!("{shell} shows:\n{}", screen.lock().unwrap());
    }
}

/// Beginnings, and what the whole command prints.
const LINES: [(&str, &str); 7] = [
    ("pintle volume inspect -f 'is {{.Name}}!' no\t\n", "is notes!"),
    // Names have colons, at which some shells cut words.
    ("pintle plugin inspect -f 'is {{.Name}}!' me/di\t\n", "is me/dirs:latest!"),
    ("pintle plugin inspect -f 'is {{.Name}}!' me/dirs:l\t\n", "is me/dirs:latest!"),
    ("pintle image ins\t -f 'is {{index .RepoTags 0}}!' alpine:la\t\n", "is alpine:latest!"),
    ("pintle volume ls --fo\t 'is {{.Name}}!' --filter name=no\t\n", "is notes!"),
    ("pintle plugin ls --format 'is {{.Name}}!' --filter=enabled=tr\t\n", "is me/dirs:latest!"),
    ("pintle run --rm -v no\t/d alpine:la\t echo 'is it'!\n", "is it!"),
];

#[test]
fn shells_complete_names_and_options() {
    let engine = Engine::start(Kind::Pintle, Client::Docker, &[]);
    engine.busybox("alpine");
    install(&engine, "me/dirs");
    engine.sh("docker volume create -d me/dirs notes").ok();
    let shells = [
        ("bash --noprofile --norc -i", ". <(pintle completion bash); echo rea''dy\n"),
        (
            "zsh -f -i",
            "autoload -U compinit; compinit -u -d $HOME/zcd; . <(pintle completion zsh); echo rea''dy\n",
        ),
        ("fish --no-config -i", "pintle completion fish | source; echo rea''dy\n"),
    ];
    for (shell, ready) in shells {
        let lines: Vec<_> = [(ready, "ready")].into_iter().chain(LINES).collect();
        types(&engine, shell, &lines);
    }
}

#[test]
fn another_engine_on_the_line_is_the_one_that_is_asked() {
    let engine = Engine::start(Kind::Pintle, Client::Docker, &[]);
    engine.sh("docker volume create here").ok();
    let asked = engine.sh(
        "DOCKER_HOST=unix:///nowhere.sock pintle __completeNoDesc -H unix://$PWD/engine.sock volume rm h",
    );
    assert_eq!(asked.ok(), "here\n:4");
    // An engine that is not there has no names, and files are no volumes.
    assert_eq!(engine.sh("pintle __completeNoDesc -H unix:///nowhere.sock volume rm h").ok(), ":4");
    // The stock client hands the words of `docker pintle …` on.
    engine.sh("mkdir -p home/.docker/cli-plugins && ln -s \"$(command -v pintle)\" home/.docker/cli-plugins/docker-pintle").ok();
    assert_eq!(engine.sh("docker __completeNoDesc pintle volume rm h").ok(), "here\n:4");
    let offered = engine.sh("docker __complete pintle plugin valid").ok();
    assert!(
        offered.starts_with("validate\tCheck a plugin's directory") && offered.ends_with("\n:4"),
        "{offered}"
    );
}
