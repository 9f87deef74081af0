//! `/_ping`, `/version`, `/auth`, `/system/df`.

use std::sync::Arc;

use pintle_api::{
    ApiVersion, StringMap,
    image::{AuthConfig, AuthResponse},
    system::{Component, DiskUsage, Platform, Version},
    version::MAX,
};
use pintle_engine::containers::ListOptions;
use pintle_image::Auth;

use crate::{
    app::App,
    convert,
    http::{Call, reply, router::Outcome},
    metrics,
    status::Failure,
};

pub(crate) const VERSION: &str = env!("CARGO_PKG_VERSION");

pub(crate) async fn ping(_: Arc<App>, _: Call) -> Outcome {
    let answer = reply::text("OK");
    let answer = reply::header(answer, "builder-version", "1");
    let answer = reply::header(answer, "swarm", "inactive");
    let answer = reply::header(answer, "cache-control", "no-cache, no-store, must-revalidate");
    Ok(reply::header(answer, "pragma", "no-cache"))
}

/// Not Docker's, which serves these on a socket of their own alone.
pub(crate) async fn numbers(app: Arc<App>, _: Call) -> Outcome {
    Ok(reply::plain(metrics::CONTENT_TYPE, metrics::page(&app).await?))
}

/// What Go calls this machine's architecture.
pub(crate) fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        "x86" => "386",
        "powerpc64" => "ppc64le",
        other => other,
    }
}

pub(crate) async fn version(app: Arc<App>, _: Call) -> Outcome {
    let oldest = app.config.load().min_api_version;
    let kernel = rustix::system::uname().release().to_string_lossy().into_owned();
    let details: StringMap = [
        ("ApiVersion", MAX.to_string()),
        ("Arch", architecture().to_owned()),
        ("BuildTime", String::new()),
        ("Experimental", "false".to_owned()),
        ("GitCommit", String::new()),
        ("KernelVersion", kernel.clone()),
        ("MinAPIVersion", oldest.to_string()),
        ("Os", "linux".to_owned()),
    ]
    .into_iter()
    .map(|(key, value)| (key.to_owned(), value))
    .collect();
    let component =
        |name: &str, details| Component { name: name.to_owned(), version: VERSION.to_owned(), details };
    Ok(reply::ok(&Version {
        platform: Platform { name: "pintle".to_owned() },
        // The first is what clients show as the engine; its name is Docker's since some look for it.
        components: vec![component("Engine", details), component("pintle-runtime", StringMap::new())],
        version: VERSION.to_owned(),
        api_version: MAX.to_string(),
        min_api_version: oldest.to_string(),
        os: "linux".to_owned(),
        arch: architecture().to_owned(),
        kernel_version: kernel,
        ..Version::default()
    }))
}

pub(crate) async fn auth(app: Arc<App>, mut call: Call) -> Outcome {
    let config: AuthConfig = call.json()?;
    let server =
        if config.serveraddress.is_empty() { "https://index.docker.io/v1/" } else { &config.serveraddress };
    let document = serde_json::to_vec(&config).map_err(|error| Failure::internal(error.to_string()))?;
    let auth = Auth::from_json(&document)?;
    let login = app.images.registry().login(server, &auth).await?;
    Ok(reply::ok(&AuthResponse { identity_token: login.identity_token, status: login.status }))
}

pub(crate) async fn disk_usage(app: Arc<App>, call: Call) -> Outcome {
    let (kinds, version) = (call.query.all("type"), call.version);
    let since = |minor| version >= ApiVersion::minor(minor);
    if since(42)
        && let Some(odd) = kinds
            .iter()
            .find(|kind| !matches!(kind.as_str(), "container" | "image" | "volume" | "build-cache"))
    {
        return Err(Failure::invalid(format!("unknown object type: {odd}")));
    }
    let wanted = |kind: &str| !since(42) || kinds.is_empty() || kinds.iter().any(|asked| asked == kind);
    let mut usage = DiskUsage::default();
    if wanted("image") {
        let images = app.images.clone();
        let (all, cost) = blocking(move || Ok((images.list()?, images.disk_usage()?))).await?;
        usage.layers_size = i64::try_from(cost.layers_size).unwrap_or(i64::MAX);
        let shared = |image: &pintle_image::Image| {
            cost.shared.iter().find(|(id, _)| *id == image.id).map(|(_, size)| *size)
        };
        let containers = app.containers().await;
        let summary = |image: &pintle_image::Image| {
            let users = containers.using_image(image.id.as_str()).len();
            let mut summary = convert::image::summary(image, Some(users), shared(image), !since(44));
            if !since(43) {
                convert::legacy::unnamed(&mut summary);
            }
            summary
        };
        usage.images = Some(all.iter().map(summary).collect());
    }
    if wanted("container") {
        let options = ListOptions { all: true, size: true, ..ListOptions::default() };
        let all = app.containers().await.list(options).await?;
        usage.containers = Some(super::container_list::summaries(&app, &all, false));
    }
    if wanted("volume") {
        usage.volumes = Some(app.volumes.usage().await.into_iter().map(convert::volume::usage).collect());
    }
    if wanted("build-cache") {
        usage.build_cache = Some(Vec::new());
    }
    Ok(reply::ok(&convert::legacy::disk_usage(&usage, version)?))
}

/// Disk work off the threads that serve.
pub(crate) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, pintle_image::ImageError> + Send + 'static,
) -> Result<T, Failure> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => Ok(result?),
        Err(error) => Err(Failure::internal(format!("the request was broken off: {error}"))),
    }
}
