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
    let names: Vec<_> = all.as_array().into_iter().flatten().map(|network| network["Name"].clone()).collect();
    assert_eq!(names, ["bridge", "host", "none"]);
    let host = call(&house, "GET", "/networks/host", None).await.json();
    let short = &host["Id"].as_str().unwrap_or_default()[..12];
    assert_eq!(call(&house, "GET", &format!("/networks/{short}"), None).await.json()["Name"], "host");
    assert_eq!(call(&house, "GET", "/networks/x", None).await.message(), "network x not found");
    assert_eq!(call(&house, "POST", "/networks/create", Some(json!({"Name": "n"}))).await.status, 501);
    assert_eq!(call(&house, "DELETE", "/networks/host", None).await.status, 403);
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
