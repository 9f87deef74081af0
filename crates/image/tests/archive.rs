//! Archives: what comes out is what went in, and nothing gets out.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on should stop")]

mod support;

use std::{
    io::Cursor,
    os::unix::fs::{FileTypeExt as _, MetadataExt as _},
    path::Path,
};

use pintle_image::{
    ErrorKind,
    archive::{self, CopyOptions, Kind, Limits},
};
use proptest::prelude::*;
use support::{Scratch, Tar, gzip};
use tar::EntryType;

const SMALL: Limits = Limits { max_bytes: 4 << 20, max_entries: 1000, max_file: 1 << 20, max_ratio: 1000 };

#[test]
fn every_hostile_archive_is_refused_with_a_reason_and_leaves_nothing() {
    let many = (0..1001).fold(Tar::new(), |tar, at| tar.file(&format!("f{at}"), b"")).done();
    let huge_record = {
        let mut header = tar::Header::new_ustar();
        header.set_entry_type(EntryType::XHeader);
        header.set_size(1 << 30);
        header.set_cksum();
        header.as_bytes().to_vec()
    };
    let bomb = gzip(&Tar::new().file("zeros", &vec![0; 900 << 10]).file("more", &vec![0; 5 << 20]).done());
    let with_trailing_bomb = gzip(&[Tar::new().file("a", b"").done(), vec![0; 8 << 20]].concat());
    let mut cut = Tar::new().file("f", &[1; 5000]).done();
    cut.truncate(3000);
    let mut bad_sum = Tar::new().file("f", b"x").done();
    bad_sum[0] ^= 1;
    let table: Vec<(&str, Vec<u8>, &str)> = vec![
        ("traversal", Tar::new().file("../escape", b"x").done(), "leads out"),
        ("inner traversal", Tar::new().dir("a/").file("a/../../escape", b"x").done(), "leads out"),
        ("absolute", Tar::new().file("/escape", b"x").done(), "absolute"),
        ("symlink out", Tar::new().symlink("l", "../../escape").done(), "symlink out"),
        (
            "through a symlink",
            Tar::new().symlink("l", "/tmp").file("l/escape", b"x").done(),
            "through a symlink",
        ),
        (
            "through a relative symlink",
            Tar::new().dir("d/").symlink("l", "d").file("l/x", b"x").done(),
            "through a symlink",
        ),
        ("hard link out", Tar::new().hard_link("h", "../../../etc/passwd").done(), "hard link out"),
        ("absolute hard link", Tar::new().hard_link("h", "/etc/passwd").done(), "hard link out"),
        (
            "hard link to a symlink",
            Tar::new().symlink("l", "/etc/passwd").hard_link("h", "l").done(),
            "is no file",
        ),
        ("hard link to nothing", Tar::new().hard_link("h", "nothing").done(), "No such file"),
        ("device", Tar::new().device("mem", 1, 1).done(), "device node"),
        ("duplicate", Tar::new().file("f", b"1").file("f", b"2").done(), "twice"),
        ("duplicate, spelt otherwise", Tar::new().file("f", b"1").file("./f", b"2").done(), "twice"),
        ("file, then directory", Tar::new().file("f", b"1").file("f/x", b"2").done(), ""),
        ("link, then file", Tar::new().symlink("f", "x").file("f/", b"2").done(), ""),
        ("too large a file", Tar::new().file("f", &vec![1; (1 << 20) + 1]).done(), "more than"),
        ("bomb", bomb, "more than"),
        ("bomb behind the end", with_trailing_bomb, "more than"),
        ("too many", many, "more than 1000 entries"),
        ("huge record", huge_record, "extension record"),
        ("cut", cut, "unexpected EOF"),
        ("checksum", bad_sum, "checksum"),
        ("no tar at all", vec![b'x'; 2000], "checksum"),
        ("cut gzip", gzip(&Tar::new().file("f", &[7; 9000]).done())[..60].to_vec(), ""),
        ("file for the root", Tar::new().file("./", b"").file("x/..", b"").done(), "leads out"),
        ("impossible owner", Tar::new().pax(&[("uid", b"4294967295")]).file("f", b"").done(), "owner"),
        (
            "sparse bomb",
            Tar::new()
                .pax(&[("GNU.sparse.realsize", b"99999999999"), ("GNU.sparse.map", b"0,0")])
                .file("f", b"")
                .done(),
            "more than",
        ),
        (
            "sparse overlap",
            Tar::new()
                .pax(&[("GNU.sparse.realsize", b"10"), ("GNU.sparse.map", b"0,5,2,1")])
                .file("f", b"123456")
                .done(),
            "contradicts",
        ),
        (
            "too deep",
            Tar::new().pax(&[("path", "d/".repeat(900).as_bytes())]).file("x", b"").done(),
            "nested deeper",
        ),
        ("bzip2", b"BZh91AY".to_vec(), "bzip2"),
    ];
    for (what, bytes, reason) in table {
        let scratch = Scratch::new();
        let dest = scratch.path().join("in/dest");
        std::fs::create_dir(scratch.path().join("in")).unwrap();
        let error = archive::unpack_into_new(Cursor::new(bytes), &dest, &SMALL, Kind::Plain)
            .expect_err(&format!("{what} was let in"));
        assert!(error.to_string().contains(reason), "{what}: {error}");
        assert!(matches!(error.kind(), ErrorKind::Corrupt | ErrorKind::Unsupported), "{what}: {error:?}");
        assert!(!dest.exists(), "{what} left something");
        let around: Vec<_> = std::fs::read_dir(scratch.path().join("in")).unwrap().collect();
        assert!(around.is_empty(), "{what} got out: {around:?}");
    }
    assert!(!Path::new("/tmp/escape").exists());
}

#[test]
fn in_layers_links_stay_inside_and_the_last_entry_wins() {
    let scratch = Scratch::new();
    let dest = scratch.path().join("dest");
    let tar = Tar::new()
        .symlink("l", "/outside")
        .file("l/x", b"inside")
        .file("/abs", b"abs")
        .file("f", b"1")
        .file("f", b"2")
        .dir("d/")
        .file("d/x", b"")
        .file("d", b"a file now")
        .file("e", b"")
        .dir("e/")
        .file("e/y", b"")
        .device("null", 1, 3)
        .hard_link("f2", "f")
        .done();
    // A symlink to nowhere is not followed out; make its target first as an image would.
    let tar = [Tar::new().dir("outside/").done()[..512].to_vec(), tar].concat();
    archive::unpack_into_new(Cursor::new(tar), &dest, &SMALL, Kind::Layer).unwrap();
    let read = |name: &str| std::fs::read_to_string(dest.join(name)).unwrap();
    assert_eq!(read("outside/x"), "inside");
    assert_eq!(
        (read("abs"), read("f"), read("d")),
        ("abs".to_owned(), "2".to_owned(), "a file now".to_owned())
    );
    assert!(dest.join("e/y").exists());
    let null = std::fs::symlink_metadata(dest.join("null")).unwrap();
    assert!(null.file_type().is_char_device() && null.rdev() == rustix::fs::makedev(1, 3));
    assert_eq!(
        std::fs::metadata(dest.join("f2")).unwrap().ino(),
        std::fs::metadata(dest.join("f")).unwrap().ino()
    );
    assert!(!Path::new("/outside").exists());
}

#[test]
fn hostile_layers_are_refused_too() {
    for (what, bytes) in [
        ("traversal", Tar::new().file("a/../../x", b"").done()),
        ("symlink out", Tar::new().symlink("l", "../x").done()),
        ("hard link out", Tar::new().hard_link("h", "../x").done()),
        ("whiteout of dot dot", Tar::new().file("a/.wh...", b"").done()),
        ("whiteout of nothing", Tar::new().file("a/.wh.", b"").done()),
    ] {
        let scratch = Scratch::new();
        let dest = scratch.path().join("dest");
        archive::unpack_into_new(Cursor::new(bytes), &dest, &SMALL, Kind::Layer).expect_err(what);
        assert!(!dest.exists(), "{what}");
    }
}

#[test]
fn whiteouts_become_overlays_and_come_back() {
    let scratch = Scratch::new();
    let dest = scratch.path().join("dest");
    let layer = support::upper();
    archive::unpack_into_new(Cursor::new(layer), &dest, &SMALL, Kind::Layer).unwrap();
    let hidden = std::fs::symlink_metadata(dest.join("etc/passwd")).unwrap();
    assert!(hidden.file_type().is_char_device() && hidden.rdev() == 0);
    let mut value = [0; 8];
    let count = rustix::fs::getxattr(dest.join("var/lib"), "trusted.overlay.opaque", &mut value[..]).unwrap();
    assert_eq!(&value[..count], b"y");
    let mut packed = Vec::new();
    archive::pack(&dest, &mut packed, Kind::Layer).unwrap();
    let mut names: Vec<String> = tar::Archive::new(&packed[..])
        .entries()
        .unwrap()
        .map(|entry| entry.unwrap().path().unwrap().display().to_string())
        .collect();
    names.sort();
    assert_eq!(
        names,
        ["etc/", "etc/.wh.passwd", "etc/motd", "var/", "var/lib/", "var/lib/.wh..wh..opq", "var/lib/c"]
    );
}

#[test]
fn overlays_own_attributes_are_not_taken_from_archives() {
    let scratch = Scratch::new();
    let dest = scratch.path().join("dest");
    let tar = Tar::new()
        .pax(&[
            ("SCHILY.xattr.trusted.overlay.redirect", b"/../../etc"),
            ("SCHILY.xattr.user.kept", b"a\0\n=b"),
            ("SCHILY.xattr.security.capability", b"\x01\0\0\x02\0\x20\0\0\0\0\0\0\0\0\0\0\0\0\0\0"),
        ])
        .file("f", b"x")
        .done();
    archive::unpack_into_new(Cursor::new(tar), &dest, &SMALL, Kind::Layer).unwrap();
    let mut value = [0; 64];
    let mut get = |name: &str| {
        rustix::fs::getxattr(dest.join("f"), name, &mut value[..]).map(|count| value[..count].to_vec())
    };
    assert!(get("trusted.overlay.redirect").is_err());
    assert_eq!(get("user.kept").unwrap(), b"a\0\n=b");
    assert_eq!(get("security.capability").unwrap().len(), 20);
}

/// A tree with everything in it.
fn rich_tree(root: &Path) {
    use std::os::unix::fs::{PermissionsExt, symlink};
    let long = "n".repeat(200);
    std::fs::create_dir_all(root.join("deep").join(&long).join(&long)).unwrap();
    std::fs::write(root.join("deep").join(&long).join(&long).join("file"), b"deep").unwrap();
    std::fs::write(root.join("ünïcode"), b"u").unwrap();
    std::fs::write(root.join("suid"), b"s").unwrap();
    std::os::unix::fs::chown(root.join("suid"), Some(3_000_000_000), Some(12)).unwrap();
    std::fs::set_permissions(root.join("suid"), PermissionsExt::from_mode(0o6755)).unwrap();
    std::fs::hard_link(root.join("suid"), root.join("zz-link")).unwrap();
    symlink("x".repeat(300), root.join("long-link")).unwrap();
    rustix::fs::setxattr(root.join("suid"), "user.a", b"v", rustix::fs::XattrFlags::empty()).unwrap();
    let sparse = std::fs::File::create(root.join("sparse")).unwrap();
    sparse.set_len(8 << 20).unwrap();
    std::os::unix::fs::FileExt::write_all_at(&sparse, b"middle", 3 << 20).unwrap();
    rustix::fs::mknodat(
        rustix::fs::CWD,
        root.join("fifo"),
        rustix::fs::FileType::Fifo,
        rustix::fs::Mode::from_raw_mode(0o644),
        0,
    )
    .unwrap();
    drop(std::os::unix::net::UnixListener::bind(root.join("socket")).unwrap());
}

#[test]
fn what_is_packed_unpacks_to_the_same() {
    let scratch = Scratch::new();
    let (one, two) = (scratch.path().join("one"), scratch.path().join("two"));
    std::fs::create_dir(&one).unwrap();
    rich_tree(&one);
    let mut packed = Vec::new();
    archive::pack(&one, &mut packed, Kind::Plain).unwrap();
    let limits = Limits { max_bytes: 64 << 20, max_file: 64 << 20, ..SMALL };
    archive::unpack_into_new(
        Cursor::new(zstd::encode_all(&packed[..], 1).unwrap()),
        &two,
        &limits,
        Kind::Plain,
    )
    .unwrap();
    let mut again = Vec::new();
    archive::pack(&two, &mut again, Kind::Plain).unwrap();
    assert!(packed == again, "the second archive differs");
    let suid = std::fs::metadata(two.join("suid")).unwrap();
    assert_eq!((suid.mode() & 0o7777, suid.uid(), suid.gid(), suid.nlink()), (0o6755, 3_000_000_000, 12, 2));
    let sparse = std::fs::metadata(two.join("sparse")).unwrap();
    assert!(sparse.len() == 8 << 20 && sparse.blocks() * 512 < 1 << 20, "the holes were filled");
    assert!(!two.join("socket").exists());
    // Directories keep their times although things were put into them later.
    let times = |root: &Path| std::fs::metadata(root.join("deep")).unwrap().mtime();
    assert_eq!(times(&one), times(&two));
}

#[test]
fn gnu_tars_own_archives_are_read() {
    let scratch = Scratch::new();
    let one = scratch.path().join("one");
    std::fs::create_dir(&one).unwrap();
    rich_tree(&one);
    for format in ["gnu", "pax", "oldgnu"] {
        let file = scratch.path().join("t.tar");
        let two = scratch.path().join(format);
        let made = std::process::Command::new("tar")
            .args(["-C", one.to_str().unwrap(), "--sparse", &format!("--format={format}"), "-cf"])
            .arg(&file)
            .arg(".")
            .status()
            .unwrap();
        assert!(made.success() || made.code() == Some(1));
        let limits = Limits { max_bytes: 64 << 20, max_file: 64 << 20, ..SMALL };
        archive::unpack_into_new(std::fs::File::open(&file).unwrap(), &two, &limits, Kind::Plain)
            .unwrap_or_else(|error| panic!("{format}: {error}"));
        let sparse = std::fs::read(two.join("sparse")).unwrap();
        assert_eq!((sparse.len(), &sparse[3 << 20..(3 << 20) + 6]), (8 << 20, &b"middle"[..]), "{format}");
        assert_eq!(std::fs::read_link(two.join("long-link")).unwrap().as_os_str().len(), 300);
        assert_eq!(std::fs::metadata(two.join("suid")).unwrap().uid(), 3_000_000_000);
    }
}

#[test]
fn copying_in_and_out_follows_links_inside_the_root_only() {
    let scratch = Scratch::new();
    let root = scratch.path().join("root");
    std::fs::create_dir_all(root.join("data/sub")).unwrap();
    std::fs::create_dir(scratch.path().join("outside")).unwrap();
    std::fs::write(root.join("data/f"), b"content").unwrap();
    std::os::unix::fs::symlink("/data", root.join("abs")).unwrap();
    std::os::unix::fs::symlink("../../../../data/f", root.join("data/up")).unwrap();
    std::os::unix::fs::symlink(scratch.path().join("outside"), root.join("evil")).unwrap();

    let stat = archive::stat(&root, "/abs").unwrap();
    assert_eq!(
        (stat.name.as_str(), stat.link_target.as_str(), stat.mode & 1 << 27),
        ("abs", "/data", 1 << 27)
    );
    assert_eq!(archive::stat(&root, "/abs/f").unwrap().size, 7);
    assert_eq!(archive::stat(&root, "/data/up").unwrap().link_target, "/data/f");
    assert_eq!(archive::stat(&root, "/nothing").unwrap_err().kind(), ErrorKind::NotFound);
    assert_eq!(archive::stat(&root, "/evil/").unwrap_err().kind(), ErrorKind::NotFound);

    let names = |path: &str| {
        let mut bytes = Vec::new();
        archive::copy_out(&root, path, &mut bytes).unwrap();
        tar::Archive::new(&bytes[..])
            .entries()
            .unwrap()
            .map(|entry| entry.unwrap().path().unwrap().display().to_string())
            .collect::<Vec<_>>()
    };
    assert_eq!(names("/data/f"), ["f"]);
    assert_eq!(names("/data"), ["data/", "data/f", "data/sub/", "data/up"]);
    assert_eq!(names("/abs/"), ["abs/", "abs/f", "abs/sub/", "abs/up"]);
    assert_eq!(names("/data/."), ["./", "./f", "./sub/", "./up"]);

    let into = |path: &str, tar: Vec<u8>, options| archive::copy_in(&root, path, Cursor::new(tar), options);
    let owned = CopyOptions { owner: Some((5, 6)), ..CopyOptions::default() };
    into(
        "/abs/sub",
        Tar::new().file("new", b"n").symlink("l", "/data").file("l/through", b"t").done(),
        owned,
    )
    .unwrap();
    assert_eq!(std::fs::metadata(root.join("data/sub/new")).unwrap().uid(), 5);
    assert_eq!(std::fs::read(root.join("data/through")).unwrap(), b"t");
    into("/data/f", Tar::new().file("x", b"").done(), owned).unwrap_err();
    into("/evil", Tar::new().file("x", b"").done(), owned).unwrap_err();
    into("/data", Tar::new().file("../../x", b"").done(), owned).unwrap_err();
    let keep = CopyOptions { no_overwrite_dir_non_dir: true, ..CopyOptions::default() };
    let error = into("/data", Tar::new().file("sub", b"").done(), keep).unwrap_err();
    assert!(error.to_string().contains("cannot overwrite directory"), "{error}");
    assert!(std::fs::read_dir(scratch.path().join("outside")).unwrap().next().is_none());
}

fn shape() -> impl Strategy<Value = (u8, String, String, Vec<u8>)> {
    let name = prop::sample::select(vec![
        "a",
        "b",
        "a/b",
        "a/c",
        "../x",
        "/x",
        "a/../b",
        "./a",
        ".wh.a",
        "a/.wh..wh..opq",
        "a/",
        "l",
        "l/x",
        ".",
        "..",
        "a/b/c",
    ]);
    let link = prop::sample::select(vec!["a", "b", "../x", "/", "/a", ".", "l", "../../../../tmp", "a/b"]);
    (
        0u8..7,
        name.prop_map(str::to_owned),
        link.prop_map(str::to_owned),
        prop::collection::vec(any::<u8>(), 0..40),
    )
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    #[test]
    fn no_archive_escapes_or_panics(entries in prop::collection::vec(shape(), 0..12), layer in any::<bool>(), flip in any::<Option<(u16, u8)>>()) {
        let mut tar = Tar::new();
        for (kind, name, link, content) in entries {
            tar = match kind {
                0 | 1 => tar.file(&name, &content),
                2 => tar.dir(&name),
                3 => tar.symlink(&name, &link),
                4 => tar.hard_link(&name, &link),
                5 => tar.raw(&name, EntryType::Fifo, "", 0o644, b""),
                _ => tar.pax(&[("path", name.as_bytes())]).file("named-otherwise", &content),
            };
        }
        let mut bytes = tar.done();
        if let Some((at, value)) = flip {
            let at = usize::from(at) % bytes.len();
            bytes[at] ^= value;
        }
        let scratch = Scratch::new();
        std::fs::create_dir_all(scratch.path().join("in")).unwrap();
        let dest = scratch.path().join("in/dest");
        let kind = if layer { Kind::Layer } else { Kind::Plain };
        let result = archive::unpack_into_new(Cursor::new(bytes), &dest, &SMALL, kind);
        prop_assert_eq!(result.is_ok(), dest.exists());
        let around: Vec<_> = std::fs::read_dir(scratch.path().join("in")).unwrap().flatten().map(|entry| entry.file_name()).collect();
        prop_assert!(around.iter().all(|name| name == "dest"), "{:?}", around);
        prop_assert_eq!(std::fs::read_dir(scratch.path()).unwrap().count(), 1);
    }

    #[test]
    fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..2000)) {
        let scratch = Scratch::new();
        let _ = archive::unpack_into_new(Cursor::new(bytes), &scratch.path().join("d"), &SMALL, Kind::Layer);
    }
}
