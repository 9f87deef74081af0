//! Volumes, networks, plugins, events.

use std::sync::Arc;

use serde_json::json;

use crate::{House, client::call};

pub async fn volumes(house: Arc<House>) {
    let body = json!({"Name": "vol", "Labels": {"a": "b"}});
    assert_eq!(call(&house, "POST", "/volumes/create", Some(body.clone())).await.status, 201);
    // Again is the same volume, not a conflict.
    assert_eq!(call(&house, "POST", "/v1.41/volumes/create", Some(body)).await.status, 201);
    let one = call(&house, "GET", "/volumes/vol", None).await.json();
    assert_eq!((&one["Driver"], &one["Scope"]), (&json!("local"), &json!("local")));
    assert!(one["Mountpoint"].as_str().is_some_and(|path| path.ends_with("/volumes/vol/_data")), "{one}");
    let list = call(&house, "GET", "/volumes?filters=%7B%22label%22%3A%7B%22a%3Db%22%3Atrue%7D%7D", None)
        .await
        .json();
    assert_eq!(list["Volumes"].as_array().map(Vec::len), Some(1), "{list}");
    assert_eq!(list.get("Warnings"), Some(&json!(null)));
    let bad = call(&house, "GET", "/volumes?filters=%7B%22odd%22%3A%5B%22x%22%5D%7D", None).await;
    assert_eq!((bad.status, bad.message()), (400, "invalid filter 'odd'".to_owned()));
    assert_eq!(call(&house, "PUT", "/volumes/vol", None).await.status, 503);
    assert_eq!(call(&house, "DELETE", "/volumes/vol", None).await.status, 204);
    assert_eq!(call(&house, "DELETE", "/volumes/vol?force=1", None).await.status, 204);
    let gone = call(&house, "GET", "/volumes/vol", None).await;
    assert_eq!((gone.status, gone.message()), (404, "get vol: no such volume".to_owned()));
    assert_eq!(call(&house, "POST", "/volumes/prune", None).await.status, 200);
}

pub async fn networks(house: Arc<House>) {
    let all = call(&house, "GET", "/networks", None).await.json();
    let mut names: Vec<_> =
        all.as_array().into_iter().flatten().filter_map(|network| network["Name"].as_str()).collect();
    names.sort_unstable();
    assert_eq!(names, ["bridge", "host", "none"]);
    let host = call(&house, "GET", "/networks/host", None).await.json();
    let short = &host["Id"].as_str().unwrap_or_default()[..12];
    assert_eq!(call(&house, "GET", &format!("/networks/{short}"), None).await.json()["Name"], "host");
    assert_eq!(call(&house, "GET", "/networks/x", None).await.message(), "network x not found");
    let host = call(&house, "GET", "/networks/host?scope=swarm", None).await;
    assert_eq!((host.status, host.message()), (404, "network host not found".to_owned()));
    let bad = call(&house, "GET", "/networks/host?verbose=maybe", None).await;
    assert_eq!(
        (bad.status, bad.message()),
        (
            400,
            r#"invalid value for verbose: maybe: strconv.ParseBool: parsing "maybe": invalid syntax"#
                .to_owned()
        )
    );
    for predefined in ["bridge", "host", "none", "default"] {
        let answer = call(&house, "POST", "/networks/create", Some(json!({"Name": predefined}))).await;
        let text = format!("operation is not permitted on predefined {predefined} network ");
        assert_eq!((answer.status, answer.message()), (403, text));
    }
    for predefined in ["bridge", "host", "none"] {
        let answer = call(&house, "DELETE", &format!("/networks/{predefined}"), None).await;
        let text = format!("{predefined} is a pre-defined network and cannot be removed");
        assert_eq!((answer.status, answer.message()), (403, text));
    }
}

pub async fn networks_of_ones_own(house: Arc<House>) {
    let body = json!({"Name": "own", "Driver": "bridge", "Labels": {"a": "b"}, "Internal": true,
        "IPAM": {"Config": [{"Subnet": "198.18.7.0/24", "Gateway": "198.18.7.1"}]}});
    let made = call(&house, "POST", "/networks/create", Some(body.clone())).await;
    assert_eq!(made.status, 201, "{}", made.text());
    let id = made.json()["Id"].as_str().unwrap_or_default().to_owned();
    let again = call(&house, "POST", "/networks/create", Some(body)).await;
    assert_eq!((again.status, again.message()), (409, "network with name own already exists".to_owned()));
    let own = call(&house, "GET", &format!("/networks/{}", &id[..10]), None).await.json();
    assert_eq!(
        (&own["Name"], &own["Internal"], &own["Scope"]),
        (&json!("own"), &json!(true), &json!("local"))
    );
    assert_eq!(own["IPAM"]["Config"], json!([{"Subnet": "198.18.7.0/24", "Gateway": "198.18.7.1"}]));
    let listed = |filters: &str| {
        let path = format!("/networks?filters={filters}");
        let house = Arc::clone(&house);
        async move { call(&house, "GET", &path, None).await }
    };
    for (filters, count) in [
        ("%7B%22label%22%3A%7B%22a%3Db%22%3Atrue%7D%7D", 1),
        ("%7B%22dangling%22%3A%7B%22true%22%3Atrue%7D%7D", 1),
        ("%7B%22type%22%3A%7B%22builtin%22%3Atrue%7D%7D", 3),
        ("%7B%22driver%22%3A%7B%22bridge%22%3Atrue%7D%7D", 2),
        ("%7B%22name%22%3A%7B%22ow%22%3Atrue%7D%7D", 1),
    ] {
        let list = listed(filters).await.json();
        assert_eq!(list.as_array().map(Vec::len), Some(count), "{filters}: {list}");
    }
    let bad = listed("%7B%22odd%22%3A%5B%22x%22%5D%7D").await;
    assert_eq!((bad.status, bad.message()), (400, "invalid filter 'odd'".to_owned()));
    let missing = call(&house, "POST", "/networks/own/connect", Some(json!({"Container": "nobody"}))).await;
    assert_eq!((missing.status, missing.message()), (404, "No such container: nobody".to_owned()));
    let created = call(
        &house,
        "POST",
        "/containers/create?name=member",
        Some(json!({"Image": "box", "Cmd": ["true"]})),
    )
    .await;
    assert_eq!(created.status, 201, "{}", created.text());
    let wish = json!({"Container": "member", "EndpointConfig": {"Aliases": ["m"], "IPAMConfig": {"IPv4Address": "198.18.7.9"}}});
    assert_eq!(call(&house, "POST", "/networks/own/connect", Some(wish)).await.status, 200);
    let member = call(&house, "GET", "/containers/member/json", None).await.json();
    let place = &member["NetworkSettings"]["Networks"]["own"];
    assert_eq!(place["IPAMConfig"], json!({"IPv4Address": "198.18.7.9"}));
    assert_eq!((&place["Aliases"], &place["IPAddress"]), (&json!(["m"]), &json!("")));
    let leave = json!({"Container": "member"});
    assert_eq!(call(&house, "POST", "/networks/own/disconnect", Some(leave)).await.status, 200);
    assert_eq!(call(&house, "DELETE", "/containers/member", None).await.status, 204);
    let path = "/networks/prune?filters=%7B%22label%22%3A%7B%22a%3Db%22%3Atrue%7D%7D";
    let pruned = call(&house, "POST", path, None).await.json();
    assert_eq!(pruned, json!({"NetworksDeleted": ["own"]}));
    let pruned = call(&house, "POST", "/networks/prune", None).await.json();
    assert_eq!(pruned, json!({"NetworksDeleted": null}));
    let gone = call(&house, "DELETE", "/networks/own", None).await;
    assert_eq!((gone.status, gone.message()), (404, "network own not found".to_owned()));
}

pub async fn plugins_that_are_not_there(house: Arc<House>) {
    assert_eq!(call(&house, "GET", "/plugins", None).await.text(), "[]\n");
    let bad = call(&house, "GET", "/plugins?filters=%7B%22x%22%3A%5B%22y%22%5D%7D", None).await;
    assert_eq!((bad.status, bad.message()), (400, "invalid filter 'x'".to_owned()));
    for (method, path) in [
        ("GET", "/plugins/a/b:c/json"),
        ("POST", "/plugins/a/b:c/enable?timeout=0"),
        ("POST", "/plugins/a/b:c/disable"),
        ("DELETE", "/plugins/a/b:c"),
    ] {
        let answer = call(&house, method, path, None).await;
        assert_eq!(
            (answer.status, answer.message()),
            (404, "plugin \"a/b:c\" not found".to_owned()),
            "{path}"
        );
    }
    let answer = call(&house, "POST", "/plugins/a/enable", None).await;
    assert_eq!(
        (answer.status, answer.message()),
        (400, r#"strconv.Atoi: parsing "": invalid syntax"#.to_owned())
    );
}

pub async fn events_since_and_until(house: Arc<House>) {
    call(&house, "POST", "/volumes/create", Some(json!({"Name": "told"}))).await;
    call(&house, "DELETE", "/volumes/told", None).await;
    let until = chrono::Utc::now().timestamp() + 1;
    let path = format!("/events?since=0&until={until}&filters=%7B%22volume%22%3A%5B%22told%22%5D%7D");
    let answer = call(&house, "GET", &path, None).await;
    let actions: Vec<_> = answer
        .text()
        .lines()
        .map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap()["Action"].clone())
        .collect();
    assert_eq!(actions, ["create", "destroy"]);
    assert_eq!(call(&house, "GET", "/events?since=soon", None).await.status, 400);
}
