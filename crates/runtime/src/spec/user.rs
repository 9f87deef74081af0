//! Who a container's process runs as, read from its own `/etc/passwd` and `/etc/group`.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use rustix::fs::{Mode, OFlags, ResolveFlags, openat2};

/// No account file is read beyond this.
const MAX_FILE: u64 = 16 << 20;

/// The ids a user string stands for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ResolvedUser {
    /// User id.
    pub uid: u32,
    /// Primary group id.
    pub gid: u32,
    /// Supplementary groups: those that list the user (unless a group was named), then the ones asked for.
    pub additional_gids: Vec<u32>,
    /// Home directory; `/` when the account file does not say.
    pub home: String,
}

/// Why a user string means nobody. The texts are Docker's.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum UserError {
    /// A name that is not in `/etc/passwd`.
    #[error("unable to find user {0}: no matching entries in passwd file")]
    NoUser(String),
    /// A name that is not in `/etc/group`.
    #[error("unable to find group {0}: no matching entries in group file")]
    NoGroup(String),
    /// A number outside the range of ids.
    #[error("uids and gids must be in range 0-2147483647")]
    Range,
}

/// Resolves `user[:group]`, names or numbers, in the root file system at `rootfs`; an empty string is root. Links are
/// followed inside that root only.
///
/// # Errors
/// When a name is unknown or a number out of range. Missing account files count as empty.
pub fn resolve_user(rootfs: &Path, user: &str, extra_groups: &[String]) -> Result<ResolvedUser, UserError> {
    let passwd = read_in_root(rootfs, "etc/passwd");
    let group = read_in_root(rootfs, "etc/group");
    resolve(&passwd, &group, user, extra_groups)
}

/// The home directory of a user id in the root file system at `rootfs`, if its `/etc/passwd` names one.
#[must_use]
pub fn home_of(rootfs: &Path, uid: u32) -> Option<String> {
    accounts(&read_in_root(rootfs, "etc/passwd")).find(|a| a.uid == uid).map(|a| a.home.to_owned())
}

fn read_in_root(rootfs: &Path, path: &str) -> String {
    let mut text = Vec::new();
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
    if let Ok(root) =
        rustix::fs::open(rootfs, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
        && let Ok(file) =
            openat2(&root, path, flags, Mode::empty(), ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS)
    {
        let file = File::from(file);
        if file.metadata().is_ok_and(|m| m.is_file()) {
            let _ = file.take(MAX_FILE).read_to_end(&mut text);
        }
    }
    String::from_utf8_lossy(&text).into_owned()
}

struct Account<'a> {
    name: &'a str,
    uid: u32,
    gid: u32,
    home: &'a str,
}

fn accounts(passwd: &str) -> impl Iterator<Item = Account<'_>> {
    passwd.lines().filter_map(|line| {
        let mut fields = line.trim().split(':');
        let name = fields.next()?;
        let uid = fields.nth(1)?.parse().ok()?;
        let gid = fields.next()?.parse().ok()?;
        let home = fields.nth(1).unwrap_or("");
        Some(Account { name, uid, gid, home })
    })
}

struct Group<'a> {
    name: &'a str,
    gid: u32,
    members: &'a str,
}

fn groups(group: &str) -> impl Iterator<Item = Group<'_>> {
    group.lines().filter_map(|line| {
        let mut fields = line.trim().split(':');
        let name = fields.next()?;
        let gid = fields.nth(1)?.parse().ok()?;
        Some(Group { name, gid, members: fields.next().unwrap_or("") })
    })
}

fn id(text: &str) -> Result<Option<u32>, UserError> {
    if text.is_empty() || !text.bytes().all(|b| b.is_ascii_digit()) {
        return Ok(None);
    }
    match text.parse::<u32>() {
        Ok(id) if id <= i32::MAX as u32 => Ok(Some(id)),
        _ => Err(UserError::Range),
    }
}

fn resolve(passwd: &str, group: &str, user: &str, extra: &[String]) -> Result<ResolvedUser, UserError> {
    let (user, group_name) = match user.split_once(':') {
        Some((user, group)) => (user, Some(group).filter(|g| !g.is_empty())),
        None => (user, None),
    };
    let user = if user.is_empty() { "0" } else { user };
    // A name may look like a number; the name wins, as in Docker.
    let account = accounts(passwd).find(|a| a.name == user);
    let number = id(user)?;
    let account = account.or_else(|| number.and_then(|uid| accounts(passwd).find(|a| a.uid == uid)));
    let (uid, mut gid, name, home) = match (&account, number) {
        (Some(a), _) => (a.uid, a.gid, Some(a.name), a.home),
        (None, Some(uid)) => (uid, 0, None, ""),
        (None, None) => return Err(UserError::NoUser(user.to_owned())),
    };
    let find_group = |wanted: &str| -> Result<u32, UserError> {
        if let Some(found) = groups(group).find(|g| g.name == wanted) {
            return Ok(found.gid);
        }
        id(wanted)?.ok_or_else(|| UserError::NoGroup(wanted.to_owned()))
    };
    let mut additional: Vec<u32> = Vec::new();
    match group_name {
        Some(wanted) => gid = find_group(wanted)?,
        None => {
            if let Some(name) = name {
                additional.extend(
                    groups(group).filter(|g| g.members.split(',').any(|m| m.trim() == name)).map(|g| g.gid),
                );
            }
        }
    }
    for wanted in extra {
        additional.push(find_group(wanted)?);
    }
    let mut seen = std::collections::HashSet::new();
    additional.retain(|g| seen.insert(*g));
    let home = if home.is_empty() { "/" } else { home };
    Ok(ResolvedUser { uid, gid, additional_gids: additional, home: home.to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;

    const PASSWD: &str =
        "root:x:0:0:root:/root:/bin/sh\napp:x:1000:1001::/home/app:/bin/sh\n1234:x:77:77::/n:/bin/sh\n";
    const GROUP: &str = "root:x:0:root\nwheel:x:10:root,app\napp:x:1001:\naudio:x:29:app\n";

    fn user(text: &str) -> Result<ResolvedUser, UserError> {
        resolve(PASSWD, GROUP, text, &[])
    }

    #[test]
    fn names_and_numbers() {
        let app = user("app").unwrap();
        assert_eq!((app.uid, app.gid, app.home.as_str()), (1000, 1001, "/home/app"));
        assert_eq!(app.additional_gids, [10, 29]);
        assert_eq!(user("1000").unwrap(), app);
        let unknown = user("4242").unwrap();
        assert_eq!((unknown.uid, unknown.gid, unknown.home.as_str()), (4242, 0, "/"));
        assert_eq!(user("").unwrap().uid, 0);
        assert_eq!(user("1234").unwrap().uid, 77);
    }

    #[test]
    fn a_named_group_replaces_the_listed_ones() {
        let app = user("app:audio").unwrap();
        assert_eq!((app.gid, app.additional_gids.len()), (29, 0));
        assert_eq!(user("app:55").unwrap().gid, 55);
        assert_eq!(
            resolve(PASSWD, GROUP, "app:audio", &["wheel".into(), "7".into()]).unwrap().additional_gids,
            [10, 7]
        );
    }

    #[test]
    fn nobody_is_an_error() {
        assert_eq!(user("ghost"), Err(UserError::NoUser("ghost".into())));
        assert_eq!(user("app:ghosts"), Err(UserError::NoGroup("ghosts".into())));
        assert_eq!(user("99999999999"), Err(UserError::Range));
        assert_eq!(user("4294967295"), Err(UserError::Range));
    }

    #[test]
    fn links_stay_inside_the_root() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("etc")).unwrap();
        std::os::unix::fs::symlink("/etc/accounts", dir.path().join("etc/passwd")).unwrap();
        std::fs::write(dir.path().join("etc/accounts"), "inner:x:5:6::/i:/bin/sh\n").unwrap();
        assert_eq!(resolve_user(dir.path(), "inner", &[]).unwrap().uid, 5);
        // A FIFO must not hang the engine.
        std::fs::remove_file(dir.path().join("etc/passwd")).unwrap();
        rustix::fs::mknodat(
            rustix::fs::CWD,
            dir.path().join("etc/passwd"),
            rustix::fs::FileType::Fifo,
            Mode::from_raw_mode(0o600),
            0,
        )
        .unwrap();
        assert!(resolve_user(dir.path(), "inner", &[]).is_err());
    }
}
