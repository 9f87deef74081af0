//! Images: made, moved, named and removed.

use crate::harness::Engine;

#[test]
fn save_and_load_are_inverses() {
    let engine = Engine::pintle();
    engine.busybox("one:1");
    let id = engine.sh("docker images -q --no-trunc one:1").ok();
    engine.sh("docker tag one:1 two:2 && docker save -o s.tar one:1 two:2 && docker rmi one:1 two:2").ok();
    assert_eq!(engine.sh("docker images -q").ok(), "");
    let said = engine.sh("docker load -i s.tar").ok();
    assert!(said.contains("Loaded image: one:1") && said.contains("Loaded image: two:2"), "{said}");
    assert_eq!(engine.sh("docker images -q --no-trunc one:1").ok(), id);
    engine.sh("gzip -k s.tar && docker rmi one:1 two:2 && docker load -i s.tar.gz && docker run --rm two:2 true").ok();
}

#[test]
fn removal_respects_users_and_names() {
    let engine = Engine::pintle();
    engine.busybox("one");
    engine.sh("docker create --name box one true && docker tag one two").ok();
    let untagged = engine.sh("docker rmi two").ok();
    assert!(untagged.contains("Untagged: two:latest"), "{untagged}");
    let held = engine.sh("docker rmi one").fails();
    assert!(held.contains("unable to remove repository reference \"one\" (must force)"), "{held}");
    engine.sh("docker rm box").ok();
    let deleted = engine.sh("docker rmi one").ok();
    assert!(deleted.contains("Deleted: sha256:"), "{deleted}");
    let missing = engine.sh("docker rmi one").fails();
    assert!(missing.contains("No such image: one:latest"), "{missing}");
}

#[test]
fn import_takes_changes_and_inspect_shows_them() {
    let engine = Engine::pintle();
    engine.busybox("base");
    engine.sh("docker create --name box base && docker export box | docker import -c 'ENV A=b' -c 'ENTRYPOINT [\"echo\"]' -c 'CMD [\"x\"]' -c 'LABEL l=m' -m words - made:1").ok();
    assert_eq!(engine.sh("docker run --rm made:1").ok(), "x");
    assert_eq!(
        engine.sh("docker inspect -f '{{json .Config.Env}} {{.Config.Labels.l}} {{.Os}}' made:1").ok(),
        "[\"A=b\"] m linux"
    );
    assert!(engine.sh("docker history made:1").ok().contains("words"));
    engine.sh("docker image prune -af").ok();
}

#[test]
fn images_of_one_second_have_an_order() {
    let engine = Engine::pintle();
    engine.busybox("bb");
    engine.sh("docker create --name box bb && for i in 1 2 3; do docker commit box made:$i; done").ok();
    let between =
        engine.sh("docker images --filter since=made:1 --filter before=made:3 --format '{{.Tag}}'").ok();
    assert_eq!(between, "2");
    let whole = engine.sh("docker images --filter reference='docker.io/library/made:*' -q | wc -l").ok();
    assert_eq!(whole, "3");
}
