//! Managed plugins.

use std::{sync::Arc, time::Duration};

use http::StatusCode;
use pintle_api::{container::Top, plugin::Privilege, stream::Message};
use pintle_host::PluginFilters;
use pintle_image::{ProgressEvent, Reference};

use super::progress::{self, Gone, usual};
use crate::{
    app::App,
    convert,
    http::{Answer, Call, reply, router::Outcome},
    status::Failure,
};

pub(crate) async fn list(app: Arc<App>, call: Call) -> Outcome {
    let filters = call.query.filters()?;
    filters.only(&["enabled", "capability"])?;
    let filters = PluginFilters {
        enabled: filters.truth("enabled")?,
        capabilities: filters.get("capability").map(str::to_owned).collect(),
    };
    let all: Vec<_> = app.host.list(&filters).into_iter().map(convert::plugin::plugin).collect();
    Ok(reply::ok(&all))
}

pub(crate) async fn inspect(app: Arc<App>, call: Call) -> Outcome {
    Ok(reply::ok(&convert::plugin::plugin(app.host.get(&call.name)?)))
}

pub(crate) async fn privileges(app: Arc<App>, call: Call) -> Outcome {
    let wanted = app.host.privileges(call.query.text("remote"), &call.auth()).await?;
    // As in Docker, nothing wanted is null.
    Ok(reply::ok(&(!wanted.is_empty()).then_some(wanted)))
}

/// The name that a plugin gets, in the form in which clients see it.
fn local_name(remote: &str, name: Option<&str>) -> Result<String, Failure> {
    let reference: Reference = name.unwrap_or(remote).parse()?;
    if name.is_some() && reference.digest().is_some() {
        return Err(Failure::invalid("cannot use digest in plugin tag"));
    }
    let tagged = match reference.tag() {
        Some(tag) => reference.repository().with_tag(tag)?,
        None => reference.repository().or_latest(),
    };
    Ok(tagged.familiar())
}

/// What the operator grants, read as every other body is.
fn granted(call: &mut Call) -> Result<Vec<pintle_wire::config::Privilege>, Failure> {
    let granted: Vec<Privilege> = call.json()?;
    let understood = granted.into_iter().map(|one| pintle_wire::config::Privilege {
        name: one.name,
        description: one.description,
        value: one.value.unwrap_or_default(),
    });
    Ok(understood.collect())
}

pub(crate) async fn pull(app: Arc<App>, mut call: Call) -> Outcome {
    let granted = granted(&mut call)?;
    let remote = call.query.text("remote").to_owned();
    let name = call.query.some("name").map(str::to_owned);
    let local = local_name(&remote, name.as_deref())?;
    let auth = call.auth();
    let engine = Arc::clone(&app);
    let answer = progress::answer(&app, Gone::GoOn, usual, move |progress| async move {
        engine.host.pull(&remote, name.as_deref(), granted, &auth, &progress).await?;
        Ok(Vec::new())
    })
    .await?;
    Ok(reply::header(answer, "docker-plugin-name", &local))
}

pub(crate) async fn upgrade(app: Arc<App>, mut call: Call) -> Outcome {
    let granted = granted(&mut call)?;
    let (name, remote, auth) = (call.name.clone(), call.query.text("remote").to_owned(), call.auth());
    let local = local_name(&name, None)?;
    let engine = Arc::clone(&app);
    let answer = progress::answer(&app, Gone::GoOn, usual, move |progress| async move {
        engine.host.upgrade(&name, &remote, granted, &auth, &progress).await?;
        Ok(Vec::new())
    })
    .await?;
    Ok(reply::header(answer, "docker-plugin-name", &local))
}

pub(crate) async fn create(app: Arc<App>, call: Call) -> Outcome {
    let name = call.query.text("name").to_owned();
    app.host.create(&name, call.into_reader()).await?;
    Ok(reply::empty(StatusCode::NO_CONTENT))
}

fn done() -> Answer {
    reply::empty(StatusCode::OK)
}

pub(crate) async fn enable(app: Arc<App>, call: Call) -> Outcome {
    let seconds: i64 = call.query.required_number("timeout")?;
    let seconds =
        u64::try_from(seconds).map_err(|_| Failure::invalid("negative timeout on enable plugin"))?;
    app.host.enable(&call.name, Duration::from_secs(seconds)).await?;
    Ok(done())
}

/// A plugin that authorizes requests goes by the configuration alone: nobody whom it judges may switch it off.
fn spare_authorizers(app: &App, call: &Call) -> Result<(), Failure> {
    let Ok(plugin) = app.host.get(&call.name) else { return Ok(()) };
    let names = &app.authorization.configured().names;
    let authorizes = names.iter().any(|name| app.host.get(name).is_ok_and(|other| other.id == plugin.id));
    if !authorizes || call.head.peer.recovers {
        return Ok(());
    }
    Err(Failure::new(
        StatusCode::FORBIDDEN,
        format!(
            "plugin {} authorizes requests: take it out of authorization-plugins in the configuration file and reload \
             the configuration, or do this on the authorization-recovery-socket",
            plugin.name
        ),
    ))
}

pub(crate) async fn disable(app: Arc<App>, call: Call) -> Outcome {
    spare_authorizers(&app, &call)?;
    app.host.disable(&call.name, call.query.truth("force")).await?;
    Ok(done())
}

pub(crate) async fn remove(app: Arc<App>, call: Call) -> Outcome {
    spare_authorizers(&app, &call)?;
    app.host.remove(&call.name, call.query.truth("force")).await?;
    Ok(done())
}

pub(crate) async fn set(app: Arc<App>, mut call: Call) -> Outcome {
    let args: Vec<String> = call.json()?;
    // Pintle's own: the operator says that the paths which the settings name are granted.
    if call.query.truth("grant") {
        app.host.set_and_grant(&call.name, &args).await?;
    } else {
        app.host.set(&call.name, &args).await?;
    }
    Ok(reply::empty(StatusCode::NO_CONTENT))
}

/// Docker has other words for a plugin's layers than for an image's.
fn pushing(event: ProgressEvent) -> Message {
    let mut message = usual(event);
    message.status = message.status.map(|status| match status.as_str() {
        "Pushing" => "Uploading".to_owned(),
        "Pushed" | "Layer already exists" => "Upload complete".to_owned(),
        _ => status,
    });
    message
}

pub(crate) async fn push(app: Arc<App>, call: Call) -> Outcome {
    let (name, auth) = (call.name.clone(), call.auth());
    let engine = Arc::clone(&app);
    progress::answer(&app, Gone::Cancel, pushing, move |progress| async move {
        engine.host.push(&name, &auth, &progress).await?;
        Ok(Vec::new())
    })
    .await
}

/// Pintle's own: the processes of a plugin.
pub(crate) async fn top(app: Arc<App>, call: Call) -> Outcome {
    let pids = app.host.top(&call.name).await?;
    Ok(reply::ok(&Top {
        titles: ["UID", "PID", "PPID", "CMD"].map(str::to_owned).to_vec(),
        processes: pids.into_iter().filter_map(process).collect(),
    }))
}

/// One row of `top`; none for a process that has ended meanwhile.
fn process(pid: u32) -> Option<Vec<String>> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let field = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name))?;
        line.split_whitespace().next().map(str::to_owned)
    };
    let command = std::fs::read(format!("/proc/{pid}/cmdline")).ok()?;
    let command = String::from_utf8_lossy(&command).replace('\0', " ");
    let command = match command.trim_end() {
        "" => format!("[{}]", field("Name:")?),
        command => command.to_owned(),
    };
    Some(vec![field("Uid:")?, pid.to_string(), field("PPid:")?, command])
}

/// Pintle's own: what a plugin uses.
pub(crate) async fn stats(app: Arc<App>, call: Call) -> Outcome {
    let plugin = app.host.get(&call.name)?;
    let first = convert::stats::sample(&plugin.id, &plugin.name, &app.host.stats(&call.name).await?);
    if call.query.truth("one-shot") {
        return Ok(reply::ok(&first));
    }
    tokio::time::sleep(Duration::from_secs(1)).await;
    let second = convert::stats::sample(&plugin.id, &plugin.name, &app.host.stats(&call.name).await?);
    Ok(reply::ok(&convert::stats::after(second, &first)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_push_reads_as_dockers() {
        for (said, shown) in [
            ("Pushed", "Upload complete"),
            ("Layer already exists", "Upload complete"),
            ("Preparing", "Preparing"),
        ] {
            let event = ProgressEvent { status: said.to_owned(), ..ProgressEvent::default() };
            assert_eq!(pushing(event).status.as_deref(), Some(shown));
        }
    }

    #[test]
    fn names_are_as_clients_see_them() {
        assert_eq!(local_name("vieux/sshfs", None).unwrap(), "vieux/sshfs:latest");
        assert_eq!(local_name("127.0.0.1:5000/x/y:2", None).unwrap(), "127.0.0.1:5000/x/y:2");
        assert_eq!(local_name("vieux/sshfs:1", Some("mine")).unwrap(), "mine:latest");
        let digest = format!("sha256:{}", "0".repeat(64));
        assert_eq!(local_name(&format!("x/y:1@{digest}"), None).unwrap(), "x/y:1");
        local_name("x/y", Some(&format!("x/y@{digest}"))).unwrap_err();
    }
}
