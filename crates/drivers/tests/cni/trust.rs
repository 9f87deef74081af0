//! Whose programs and configurations are obeyed (CVE-2021-20206 and its kind).

use std::{
    fs,
    os::unix::fs::{PermissionsExt, chown, symlink},
};

use pintle_contract::{ErrorKind, NetworkDriver};
use serde_json::json;

use crate::house::{House, exists, network};

#[test]
fn a_type_never_leaves_the_binary_path() {
    let house = House::new();
    let marker = house.path("ran");
    let script = format!("touch {}; echo '{{}}'", marker.display());
    let inside = house.raw("evil", &script);
    let outside = house.path("evil");
    fs::rename(&inside, &outside).unwrap();
    symlink(&outside, house.path("bin/link")).unwrap();
    symlink("../evil", house.path("bin/climber")).unwrap();
    symlink("/proc/self/exe", house.path("bin/magic")).unwrap();
    fs::create_dir(house.path("bin/folder")).unwrap();
    let driver = house.driver();
    house.play(async {
        for hostile in [
            "../evil",
            "..",
            ".",
            "",
            "/bin/true",
            outside.to_str().unwrap(),
            "a/../../evil",
            "evil\u{0}",
            "ev\\il",
        ] {
            for plugins in
                [json!([{"type": hostile}]), json!([{"type": "bridge", "ipam": {"type": hostile}}])]
            {
                house.list("hostile", "1.0.0", &plugins);
                let error = driver.create_network(network("hostile", &[])).await;
                // The reference plugins call an IPAM plugin without a name by no name.
                if hostile.is_empty() && plugins[0]["type"] == "bridge" {
                    continue;
                }
                let error = error.unwrap_err();
                assert!(error.message.contains("invalid plugin type"), "{hostile}: {error}");
            }
        }
        for (name, kind, text) in [
            ("link", ErrorKind::PermissionDenied, "a link that leaves its folder"),
            ("climber", ErrorKind::PermissionDenied, "a link that leaves its folder"),
            ("magic", ErrorKind::PermissionDenied, "a link that leaves its folder"),
            ("folder", ErrorKind::PermissionDenied, "not a file"),
            ("missing", ErrorKind::NotFound, "CNI plugin missing is not in"),
        ] {
            house.list("hostile", "1.0.0", &json!([{"type": name}]));
            let error = driver.create_network(network("hostile", &[])).await.unwrap_err();
            assert_eq!(error.kind, kind, "{name}: {error}");
            assert!(error.message.contains(text), "{name}: {error}");
        }
        assert!(!exists(&marker), "it ran");
        // A link that stays is how distributions ship one program under many names.
        house.plugin("many", &["1.0.0"], "");
        symlink("many", house.path("bin/one")).unwrap();
        house.list("fine", "1.0.0", &json!([{"type": "one"}]));
        driver.create_network(network("fine", &[])).await.unwrap();
    });
}

#[test]
fn what_others_may_write_is_not_obeyed() {
    let house = House::new();
    house.plugin("good", &["1.0.0"], "");
    house.list("good", "1.0.0", &json!([{"type": "good"}]));
    let driver = house.driver();
    let mode = |path: &str, mode| {
        fs::set_permissions(house.path(path), fs::Permissions::from_mode(mode)).unwrap();
    };
    house.play(async {
        let refused = async |why: &str| {
            let error = driver.create_network(network("good", &[])).await.unwrap_err();
            assert!(error.message.contains("other users may write to"), "{why}: {error}");
        };
        driver.create_network(network("good", &[])).await.unwrap();
        mode("bin/good", 0o757);
        refused("the program").await;
        mode("bin/good", 0o755);
        mode("bin", 0o777);
        refused("its folder").await;
        mode("bin", 0o755);
        chown(house.path("bin/good"), Some(1000), None).unwrap();
        refused("another's program").await;
        chown(house.path("bin/good"), Some(0), None).unwrap();
        mode("net.d/good.conflist", 0o666);
        refused("the configuration").await;
        mode("net.d/good.conflist", 0o644);
        mode("bin/good", 0o644);
        let error = driver.create_network(network("good", &[])).await.unwrap_err();
        assert!(error.message.contains("not executable"), "{error}");
        mode("bin/good", 0o755);
        driver.create_network(network("good", &[])).await.unwrap();
    });
}
