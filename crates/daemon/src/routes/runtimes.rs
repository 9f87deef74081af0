//! Runtimes: which there are, what they can do, and whether they work. Not Docker's: a client of Docker's sees them in
//! `/info`.

use std::sync::Arc;

use pintle_runtime::{Chosen, Features, external::known::EMBEDDED};
use serde_json::{Value, json};

use crate::{
    app::App,
    config::Config,
    http::{Call, reply, router::Outcome},
    status::Failure,
};

pub(crate) async fn list(app: Arc<App>, _: Call) -> Outcome {
    let config = app.config.load_full();
    let mut all = Vec::new();
    for name in std::iter::once(EMBEDDED[0]).chain(config.known.entries().map(|(name, _)| name)) {
        all.push(describe(&app, &config, name).await?);
    }
    Ok(reply::ok(&all))
}

pub(crate) async fn inspect(app: Arc<App>, call: Call) -> Outcome {
    let config = app.config.load_full();
    Ok(reply::ok(&describe(&app, &config, &call.name).await?))
}

pub(crate) async fn check(app: Arc<App>, call: Call) -> Outcome {
    let findings: Vec<Value> = app
        .runtime
        .check(&call.name)
        .await?
        .into_iter()
        .map(|finding| {
            let (works, detail) = match finding.outcome {
                Ok(seen) => (true, seen),
                Err(why) => (false, why),
            };
            json!({ "Check": finding.check, "Works": works, "Detail": detail })
        })
        .collect();
    Ok(reply::ok(&json!({ "Name": call.name, "Findings": findings })))
}

async fn describe(app: &App, config: &Config, name: &str) -> Result<Value, Failure> {
    let chosen = config.known.resolve(name)?;
    let is_default = |name: &str| config.default_runtime == name;
    let (kind, path, args, available, default) = match &chosen {
        Chosen::Embedded => {
            let default = EMBEDDED.iter().any(|name| is_default(name));
            ("embedded", "pintle".to_owned(), Vec::new(), None, default || is_default(name))
        }
        Chosen::Binary(binary) => {
            let path = binary.path.to_string_lossy().into_owned();
            ("program", path, binary.args.clone(), binary.unavailable(), is_default(name))
        }
    };
    let features = app.runtime.features(name).await?;
    let aliases: &[&str] = if name == EMBEDDED[0] { &EMBEDDED[1..] } else { &[] };
    Ok(json!({
        "Name": name,
        "Default": default,
        "Kind": kind,
        "Path": path,
        "Args": args,
        "Aliases": aliases,
        "Available": available.is_none(),
        "Error": available.unwrap_or_default(),
        "Features": features.as_deref().map(document),
    }))
}

/// What a runtime said, as it said it.
fn document(features: &Features) -> Value {
    serde_json::from_str(&features.text).unwrap_or_default()
}
