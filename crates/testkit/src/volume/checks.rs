//! Every promise, in the words of [`Suite`].

use std::{future::Future, path::Path};

use futures_util::future::join_all;
use pintle_contract::ErrorKind;

use super::{suite::Suite, within::is_within};
use crate::check::{Result, Verdict, checks, fail, said};

checks! {
    Suite:
    capabilities: "the same each time",
    create_get: "a volume that was created is found, by its name, and listed once",
    create_again: "creating what exists succeeds and changes nothing",
    create_together: "volumes created at once all exist",
    create_same_together: "one volume created by many at once exists once",
    get_unknown: "an unknown volume is not found",
    remove_unknown: "removing an unknown volume fails, and only that",
    mount_unknown: "an unknown volume is not mounted",
    mount_directory: "a mounted volume is a directory that can be written to",
    mount_reported: "a mounted volume says where it is mounted",
    data_persists: "data outlives the mount",
    volumes_apart: "two volumes share no data",
    two_holders: "the volume stays for one holder when another leaves",
    same_holder_twice: "a holder that mounted twice still has the volume after one unmount",
    unmount_stranger: "an unmount by a stranger takes nothing from the holder",
    unmount_again: "a repeated unmount breaks nothing",
    remove_mounted: "a volume in use is not removed",
    remove_gone: "a removed volume is gone",
    remove_forgets: "a volume made anew holds nothing of its predecessor",
    names_plain: "letters of either case, digits, dots, dashes and underlines make different names",
    names_odd: "an odd name is refused or works",
    names_escape: "a name with slashes or dots is refused or stays inside",
    mount_together: "mounts and unmounts at once leave the volume whole",
    restart: "volumes and data outlive the driver",
}

async fn capabilities(suite: &Suite<'_>) -> Result {
    let first = said("capabilities".to_owned(), suite.driver.capabilities().await)?;
    let second = said("capabilities".to_owned(), suite.driver.capabilities().await)?;
    if first == second { Ok(()) } else { fail(format!("first {first:?}, then {second:?}")) }
}

async fn expect_once(suite: &Suite<'_>, name: &str) -> Result {
    let volume = suite.get(name).await?;
    if volume.name != name {
        return fail(format!("get {name:?} answers with a volume called {:?}", volume.name));
    }
    match suite.listed(name).await? {
        1 => Ok(()),
        times => fail(format!("list names {name:?} {times} times")),
    }
}

async fn create_get(suite: &Suite<'_>) -> Result {
    expect_once(suite, &suite.volume().await?).await
}

async fn create_again(suite: &Suite<'_>) -> Result {
    let (name, id) = (suite.volume().await?, suite.id());
    suite.write(&suite.mount(&name, &id).await?, "kept", "before")?;
    suite.unmount(&name, &id).await?;
    suite.create(&name).await?;
    expect_once(suite, &name).await?;
    suite.expect_text(&suite.mount(&name, &id).await?, "kept", "before")?;
    suite.unmount(&name, &id).await
}

async fn create_together(suite: &Suite<'_>) -> Result {
    let names: Vec<_> = (0..suite.options.crowd).map(|_| suite.name()).collect();
    for result in join_all(names.iter().map(|name| suite.create(name))).await {
        result?;
    }
    for name in &names {
        expect_once(suite, name).await?;
    }
    Ok(())
}

async fn create_same_together(suite: &Suite<'_>) -> Result {
    let name = suite.name();
    for result in join_all((0..suite.options.crowd).map(|_| suite.create(&name))).await {
        result?;
    }
    expect_once(suite, &name).await
}

async fn get_unknown(suite: &Suite<'_>) -> Result {
    suite.expect_gone(&suite.name()).await
}

async fn remove_unknown(suite: &Suite<'_>) -> Result {
    let (known, unknown) = (suite.volume().await?, suite.name());
    suite.expect_not_found("remove", suite.driver.remove(&unknown).await)?;
    expect_once(suite, &known).await
}

async fn mount_unknown(suite: &Suite<'_>) -> Result {
    let unknown = suite.name();
    suite.expect_not_found("mount", suite.driver.mount(&unknown, &suite.id()).await)?;
    suite.expect_gone(&unknown).await
}

async fn mount_directory(suite: &Suite<'_>) -> Result {
    let (name, id) = (suite.volume().await?, suite.id());
    let path = suite.mount(&name, &id).await?;
    suite.needs_data()?;
    if !suite.seen(&path).is_some_and(|seen| seen.is_dir()) {
        return fail(format!("mount answers {}, which is not a directory", path.display()));
    }
    suite.write(&path, "file", "text")?;
    suite.unmount(&name, &id).await
}

async fn mount_reported(suite: &Suite<'_>) -> Result {
    let (name, id) = (suite.volume().await?, suite.id());
    let path = suite.mount(&name, &id).await?;
    let reported = said(format!("path {name:?}"), suite.driver.path(&name).await)?;
    if reported.as_ref() != Some(&path) {
        return fail(format!("mount answers {path:?}, and path then {reported:?}"));
    }
    // Docker leaves it open whether Get says it; if it does, it must be true.
    match suite.get(&name).await?.mountpoint {
        Some(other) if other != path => fail(format!("mount answers {path:?}, and get then {other:?}")),
        _ => suite.unmount(&name, &id).await,
    }
}

async fn data_persists(suite: &Suite<'_>) -> Result {
    suite.needs_data()?;
    let name = suite.volume().await?;
    let (first, second) = (suite.id(), suite.id());
    suite.write(&suite.mount(&name, &first).await?, "kept", "text")?;
    suite.unmount(&name, &first).await?;
    suite.expect_text(&suite.mount(&name, &second).await?, "kept", "text")?;
    suite.unmount(&name, &second).await
}

async fn volumes_apart(suite: &Suite<'_>) -> Result {
    let (one, other, id) = (suite.volume().await?, suite.volume().await?, suite.id());
    let (here, there) = (suite.mount(&one, &id).await?, suite.mount(&other, &id).await?);
    if here == there {
        return fail(format!("two volumes are mounted on {}", here.display()));
    }
    suite.needs_data()?;
    suite.write(&here, "mine", "text")?;
    if suite.holds(&there, "mine") {
        return fail("a file written into one volume is in the other");
    }
    suite.unmount(&one, &id).await?;
    suite.unmount(&other, &id).await
}

async fn two_holders(suite: &Suite<'_>) -> Result {
    let name = suite.volume().await?;
    let (first, second) = (suite.id(), suite.id());
    let path = suite.mount(&name, &first).await?;
    let again = suite.mount(&name, &second).await?;
    if path != again {
        return fail(format!("one holder is sent to {path:?}, the other to {again:?}"));
    }
    expect_kept(suite, &path, async || suite.unmount(&name, &first).await).await?;
    suite.unmount(&name, &second).await
}

async fn same_holder_twice(suite: &Suite<'_>) -> Result {
    // `docker cp` on a running container mounts and unmounts with the container's own ID.
    let (name, id) = (suite.volume().await?, suite.id());
    let path = suite.mount(&name, &id).await?;
    suite.mount(&name, &id).await?;
    expect_kept(suite, &path, async || suite.unmount(&name, &id).await).await?;
    suite.unmount(&name, &id).await
}

async fn unmount_stranger(suite: &Suite<'_>) -> Result {
    let (name, id) = (suite.volume().await?, suite.id());
    let path = suite.mount(&name, &id).await?;
    let stranger = suite.id();
    // Whether this is an error is left open.
    expect_kept(suite, &path, async || {
        let _ = suite.driver.unmount(&name, &stranger).await;
        Ok(())
    })
    .await?;
    suite.unmount(&name, &id).await
}

/// What was written before the act is there after it, and the volume still counts as in use.
async fn expect_kept(suite: &Suite<'_>, path: &Path, act: impl AsyncFnOnce() -> Result) -> Result {
    suite.write(path, "kept", "text")?;
    act().await?;
    suite.needs_data()?;
    suite.expect_text(path, "kept", "text")
}

async fn unmount_again(suite: &Suite<'_>) -> Result {
    let (name, id) = (suite.volume().await?, suite.id());
    suite.mount(&name, &id).await?;
    suite.unmount(&name, &id).await?;
    let _ = suite.driver.unmount(&name, &id).await;
    // A count below zero would show here: the volume would be thought free while it is held.
    let path = suite.mount(&name, &id).await?;
    suite.write(&path, "file", "text")?;
    if !suite.options.removes_mounted && suite.driver.remove(&name).await.is_ok() {
        return fail("after one unmount too many, a mounted volume is removed");
    }
    suite.unmount(&name, &id).await
}

async fn remove_mounted(suite: &Suite<'_>) -> Result {
    let (name, id) = (suite.volume().await?, suite.id());
    suite.mount(&name, &id).await?;
    if suite.options.removes_mounted {
        return Err(Verdict::Skip("the driver documents that it removes mounted volumes".to_owned()));
    }
    match suite.driver.remove(&name).await {
        Ok(()) => return fail("remove succeeds while the volume is mounted"),
        Err(error) if matches!(error.kind, ErrorKind::Unavailable | ErrorKind::Timeout) => {
            return fail(format!("remove breaks the driver: {error}"));
        }
        Err(error) if suite.options.kinds && error.kind != ErrorKind::InUse => {
            return fail(format!("remove fails with {error:?}, not with InUse"));
        }
        Err(_) => {}
    }
    expect_once(suite, &name).await?;
    suite.unmount(&name, &id).await?;
    suite.remove(&name).await
}

async fn remove_gone(suite: &Suite<'_>) -> Result {
    let (name, id) = (suite.volume().await?, suite.id());
    suite.mount(&name, &id).await?;
    suite.unmount(&name, &id).await?;
    suite.remove(&name).await?;
    suite.expect_gone(&name).await
}

async fn remove_forgets(suite: &Suite<'_>) -> Result {
    suite.needs_data()?;
    let (name, id) = (suite.volume().await?, suite.id());
    suite.write(&suite.mount(&name, &id).await?, "secret", "text")?;
    suite.unmount(&name, &id).await?;
    suite.remove(&name).await?;
    suite.create(&name).await?;
    let path = suite.mount(&name, &id).await?;
    if suite.holds(&path, "secret") {
        return fail("the new volume holds the old one's data");
    }
    suite.unmount(&name, &id).await
}

async fn names_plain(suite: &Suite<'_>) -> Result {
    let base = suite.name();
    let names = [format!("{base}.x"), format!("{base}-x"), format!("{base}_x"), format!("{base}.X")];
    for name in &names {
        suite.create(name).await?;
    }
    for name in &names {
        expect_once(suite, name).await?;
    }
    suite.remove(&names[3]).await?;
    suite.expect_gone(&names[3]).await?;
    expect_once(suite, &names[0]).await
}

async fn names_odd(suite: &Suite<'_>) -> Result {
    let base = suite.name();
    let names = [
        format!("{base} with spaces "),
        format!("{base}-häßlich-名前"),
        format!("{base}\"quoted\\"),
        format!("{base}-{}", "long".repeat(60)),
        format!("{base}\nline"),
        format!(".{base}"),
        format!("-{base}"),
    ];
    for name in &names {
        match suite.driver.create(suite.request(name)).await {
            Ok(()) => {
                expect_once(suite, name).await?;
                suite.remove(name).await?;
                suite.expect_gone(name).await?;
            }
            Err(error) if matches!(error.kind, ErrorKind::Unavailable | ErrorKind::Timeout) => {
                return fail(format!("create {name:?} breaks the driver: {error}"));
            }
            Err(_) => suite.expect_gone(name).await?,
        }
    }
    Ok(())
}

async fn names_escape(suite: &Suite<'_>) -> Result {
    let (plain, id) = (suite.volume().await?, suite.id());
    let inside = suite.mount(&plain, &id).await?;
    let names =
        ["..".to_owned(), ".".to_owned(), format!("../{plain}"), format!("{plain}/sub"), format!("/{plain}")];
    for name in &names {
        if suite.driver.create(suite.request(name)).await.is_err() {
            continue;
        }
        let path = suite.mount(name, &id).await?;
        let overlap = match (suite.seen(&path), suite.seen(&inside)) {
            (Some(path), Some(inside)) => is_within(&path, &inside) || is_within(&inside, &path),
            _ => path.starts_with(&inside) || inside.starts_with(&path),
        };
        if overlap {
            let (path, inside) = (path.display(), inside.display());
            return fail(format!("the volume {name:?} is at {path}, and {plain:?} is at {inside}"));
        }
        suite.unmount(name, &id).await?;
        suite.remove(name).await?;
    }
    suite.unmount(&plain, &id).await?;
    expect_once(suite, &plain).await
}

async fn mount_together(suite: &Suite<'_>) -> Result {
    let name = suite.volume().await?;
    let holders: Vec<_> = (0..suite.options.crowd).map(|_| suite.id()).collect();
    let cycles = holders.iter().map(async |id| {
        let path = suite.mount(&name, id).await?;
        suite.write(&path, &id.0, "text")?;
        suite.expect_text(&path, &id.0, "text")?;
        suite.unmount(&name, id).await
    });
    for result in join_all(cycles).await {
        result?;
    }
    let last = suite.id();
    let path = suite.mount(&name, &last).await?;
    for id in &holders {
        suite.expect_text(&path, &id.0, "text")?;
    }
    suite.unmount(&name, &last).await?;
    suite.remove(&name).await?;
    suite.expect_gone(&name).await
}

async fn restart(suite: &Suite<'_>) -> Result {
    let Some(restart) = suite.options.restart else {
        return Err(Verdict::Skip("the suite was not told how to restart the driver".to_owned()));
    };
    let (name, id) = (suite.volume().await?, suite.id());
    let path = suite.mount(&name, &id).await?;
    suite.write(&path, "kept", "text")?;
    let successor =
        restart().await.or_else(|error| fail(format!("the driver does not come back: {error}")))?;
    let volume = said(format!("get {name:?} after the restart"), successor.get(&name).await)?;
    if volume.name != name {
        return fail(format!("after the restart {name:?} is called {:?}", volume.name));
    }
    let path = said("mount after the restart".to_owned(), successor.mount(&name, &id).await)?;
    suite.expect_text(&path, "kept", "text")?;
    // Whether the mount from before the restart counts, is the driver's business; this many must free it.
    for _ in 0..2 {
        let _ = successor.unmount(&name, &id).await;
    }
    said("remove after the restart".to_owned(), successor.remove(&name).await)
}
