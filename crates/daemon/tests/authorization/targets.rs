//! Routes that take a body, each with a body whose effect can be seen.

use serde_json::json;

use crate::{House, client::call};

/// A request with a body, and how to see that it was carried out.
pub struct Target {
    pub path: String,
    pub body: String,
    /// What of the body shows that it is this one.
    pub mark: String,
    /// Where the effect is seen, and the text that is there then.
    sign: (String, String),
}

impl Target {
    /// Whether the body had its effect.
    pub async fn took(&self, house: &House) -> bool {
        let answer = call(house, "GET", &self.sign.0, None).await;
        answer.status == 200 && answer.text().contains(&self.sign.1)
    }
}

/// Every route whose effect can be seen, with a number that makes its objects its own.
pub async fn visible(house: &House, number: usize) -> Vec<Target> {
    let mark = format!("mark{number}");
    let network = format!("plain{number}");
    let made =
        call(house, "POST", "/networks/create", Some(json!({"Name": network, "Internal": true}))).await;
    assert_eq!(made.status, 201, "{}", made.text());
    let target = |path: &str, body: serde_json::Value, mark: &str, sign: (&str, &str)| Target {
        path: path.to_owned(),
        body: body.to_string(),
        mark: mark.to_owned(),
        sign: (sign.0.to_owned(), sign.1.to_owned()),
    };
    let tries = number + 1000;
    vec![
        target("/v1.41/volumes/create", json!({"Name": mark}), &mark, (&format!("/volumes/{mark}"), &mark)),
        target(
            &format!("/containers/create?name={mark}"),
            json!({"Image": "box", "Cmd": ["/bin/busybox"], "HostConfig": {"Privileged": true}, "Labels": {"m": mark}}),
            &mark,
            (&format!("/containers/{mark}/json"), "\"Privileged\":true"),
        ),
        target(
            "/networks/create",
            json!({"Name": mark, "Internal": true}),
            &mark,
            (&format!("/networks/{mark}"), &mark),
        ),
        target(
            "/containers/base/update",
            json!({"RestartPolicy": {"Name": "on-failure", "MaximumRetryCount": tries}}),
            &tries.to_string(),
            ("/containers/base/json", &format!("\"MaximumRetryCount\":{tries}")),
        ),
        target(
            &format!("/commit?container=base&repo={mark}"),
            json!({"Labels": {"m": mark}}),
            &mark,
            (&format!("/images/{mark}/json"), &format!("\"m\":\"{mark}\"")),
        ),
        target(
            &format!("/networks/{network}/connect"),
            json!({"Container": "base", "EndpointConfig": {"Aliases": [mark]}}),
            &mark,
            ("/containers/base/json", &mark),
        ),
    ]
}

/// Removes what [`visible`] made.
pub async fn undo(house: &House, number: usize) {
    let (mark, network) = (format!("mark{number}"), format!("plain{number}"));
    let base = json!({"Container": "base", "Force": true});
    call(house, "POST", &format!("/networks/{network}/disconnect"), Some(base)).await;
    for path in ["volumes", "containers", "networks", "images"] {
        call(house, "DELETE", &format!("/{path}/{mark}"), None).await;
    }
    call(house, "DELETE", &format!("/networks/{network}"), None).await;
}

/// Every route that takes JSON, with a body that it can read. The effects of those that are not [`visible`] are their
/// own errors.
pub const JSON: &[(&str, &str)] = &[
    ("/auth", r#"{"username":"u","password":"p","serveraddress":"127.0.0.1:1"}"#),
    ("/containers/create", r#"{"Image":"box","Cmd":["/bin/busybox"],"Labels":{"a":"b"}}"#),
    ("/containers/base/update", r#"{"CpuShares":1024}"#),
    ("/containers/base/exec", r#"{"Cmd":["/bin/busybox","true"]}"#),
    ("/exec/none/start", r#"{"Detach":true}"#),
    ("/commit?container=none", r#"{"Labels":{"a":"b"}}"#),
    ("/volumes/create", r#"{"Name":"readable"}"#),
    ("/plugins/pull?remote=127.0.0.1:1/a/b", r#"[{"Name":"network","Description":"","Value":["host"]}]"#),
    (
        "/plugins/none/upgrade?remote=127.0.0.1:1/a/b",
        r#"[{"Name":"network","Description":"","Value":["host"]}]"#,
    ),
    ("/plugins/none/set", r#"["A=b"]"#),
    ("/networks/create", r#"{"Name":"readable","Internal":true}"#),
    ("/networks/absent/connect", r#"{"Container":"base"}"#),
    ("/networks/absent/disconnect", r#"{"Container":"base"}"#),
];
