use std::{path::Path, sync::Arc};

use chrono::Utc;
use pintle_contract::MountId;
use pintle_image::Image;

use super::{
    Container, ContainerSpec, Containers, Created, Event, Lifecycle, MountKind, MountPoint, State,
    cell::Cell,
    check, failpoint, limits, log_options, logs, merge, mounts, names,
    service::{Shared, blocking},
    step,
};
use crate::EngineError;

/// How many generated names are tried.
const NAME_TRIES: u32 = 12;

impl Containers {
    /// Makes a container. Nothing of it stays if this fails.
    ///
    /// Named volumes that do not exist are made; empty ones are filled from the image.
    pub async fn create(&self, name: Option<&str>, spec: ContainerSpec) -> Result<Created, EngineError> {
        let shared = Arc::clone(&self.shared);
        let name = name.map(str::to_owned);
        // Whoever makes a container starts it next.
        pintle_runtime::cgroup::expect_move();
        self.run(async move { create(&shared, name.as_deref(), spec).await }).await
    }
}

async fn create(
    shared: &Arc<Shared>,
    name: Option<&str>,
    mut spec: ContainerSpec,
) -> Result<Created, EngineError> {
    let id = names::new_id();
    if spec.image.is_empty() {
        return Err(EngineError::invalid("no image specified"));
    }
    let image = shared.images.get(&spec.image)?;
    let defaults = shared.defaults.load_full();
    if spec.log.driver.is_empty() {
        let options = std::mem::take(&mut spec.log.options);
        spec.log = defaults.log.clone();
        if spec.log.driver.is_empty() {
            "json-file".clone_into(&mut spec.log.driver);
        }
        spec.log.options.extend(options);
    }
    if spec.shm_size == 0 {
        spec.shm_size = defaults.shm_size;
    }
    if spec.storage_size == 0 {
        spec.storage_size = defaults.storage_size;
    }
    for limit in &defaults.ulimits {
        if !spec.ulimits.iter().any(|own| own.name == limit.name) {
            spec.ulimits.push(limit.clone());
        }
    }
    check::network_mode(&spec)?;
    // Before the image's labels are merged in: where lines go is not the image's to say.
    spec.more_logs = defaults.more_logs.clone();
    spec.more_logs.extend(log_options::more(&spec.labels)?);
    let (path, args) = merge::merge(&mut spec, Some(&image.config.config))?;
    let mut warnings = limits::settle(&mut spec.resources, true)?;
    for (_, log) in log_options::destinations(&spec) {
        let (_, options) = logs::Filters::take(&log.options)?;
        shared.config.log_drivers.check(&log.driver, &options).await?;
    }
    warnings.extend(check::check(&spec)?);
    if !spec.working_dir.is_empty() {
        spec.working_dir = mounts::clean(&spec.working_dir);
    }
    shared.check_size(&spec)?;
    let mut points =
        mounts::resolve(&spec, &shared.config.data_root, &|from| Ok(shared.find(from)?.container()))?;
    for point in points.iter_mut().filter(|point| point.kind == MountKind::Bind && point.judged.is_none()) {
        point.judged = spec.judged.get(&*point.source.to_string_lossy()).map(Into::into);
    }
    shared.find_images(&mut points)?;
    shared.networks.check(&spec)?;
    shared.bind_links(&mut spec)?;
    shared.networks.settle_names(&mut spec);
    for long in spec.mounts.iter().filter(|long| long.kind == MountKind::Bind && !long.create_mountpoint) {
        if !Path::new(&long.source).exists() {
            return Err(EngineError::invalid(format!(
                "invalid mount config for type \"bind\": bind source path does not exist: {}",
                long.source
            )));
        }
    }

    let name = reserve(shared, name, &id)?;
    let container = Container {
        id: id.clone(),
        name: name.clone(),
        created: Utc::now(),
        image_id: image.id.as_str().to_owned(),
        os: image.config.platform().os,
        spec: Arc::new(spec),
        path,
        args,
        mounts: Arc::new(points),
        life: Lifecycle::new(),
        updating: None,
    };
    match make(shared, container, &image).await {
        Ok(container) => {
            let container = Arc::new(container);
            shared.index().insert(Arc::new(Cell::new((*container).clone())));
            shared.announce(&container, "create", &[]);
            Ok(Created { id, warnings })
        }
        Err(error) => {
            shared.index().release(&name, &id);
            Err(error)
        }
    }
}

fn reserve(shared: &Shared, name: Option<&str>, id: &str) -> Result<String, EngineError> {
    let mut index = shared.index();
    if let Some(name) = name.filter(|name| !name.is_empty()) {
        let name = names::parse(name)?;
        index.reserve(name, id)?;
        return Ok(name.to_owned());
    }
    for number in 0..NAME_TRIES {
        let name = names::generate(number);
        if index.reserve(&name, id).is_ok() {
            return Ok(name);
        }
    }
    let name = id.get(..12).unwrap_or(id).to_owned();
    index.reserve(&name, id)?;
    Ok(name)
}

/// Makes the files and volumes, and the record; undoes all of it if something fails.
async fn make(
    shared: &Arc<Shared>,
    mut container: Container,
    image: &Image,
) -> Result<Container, EngineError> {
    let dir = shared.dir(&container.id);
    // Volumes without a name exist only for this container: if we die before its record is complete, somebody
    // must know of them. Without them, a left directory says enough.
    let anonymous = container.mounts.iter().any(|mount| mount.kind == MountKind::Volume && mount.anonymous);
    let (mut fresh, mut made) = (Vec::new(), Vec::new());
    let result = async {
        if anonymous {
            fresh = name_anonymous(&mut container);
            shared.records.put(Arc::new(container.clone())).await?;
        }
        failpoint!("engine.create.after_intent");
        let path = dir.clone();
        blocking(move || Ok(make_dir(&path)?)).await?;
        shared.images.create_rootfs(&container.id, &dir, &image.id).await?;
        shared.limit_size(&container.id, &container.spec).await?;
        shared.make_images(&container).await?;
        failpoint!("engine.create.after_rootfs");
        make_volumes(shared, &mut container, &fresh, &mut made).await?;
        failpoint!("engine.create.after_volumes");
        copy_up(shared, &container, image, &dir).await?;
        let (life, _) = step(&container.life, Event::Made, container.policy())
            .map_err(|_| EngineError::internal("a container cannot be made twice"))?;
        container.life = life;
        shared.records.put(Arc::new(container.clone())).await
    }
    .await;
    match result {
        Ok(()) => Ok(container),
        Err(error) => {
            container.life.state = State::Removing;
            shared.undo_create(&container, &made).await;
            if anonymous {
                let _ = shared.records.delete(&container.id).await;
            }
            Err(error)
        }
    }
}

fn make_dir(dir: &Path) -> std::io::Result<()> {
    use std::os::unix::fs::DirBuilderExt;
    if let Some(parent) = dir.parent() {
        std::fs::DirBuilder::new().recursive(true).mode(0o710).create(parent)?;
    }
    std::fs::DirBuilder::new().mode(0o710).create(dir)
}

/// Gives volumes without a name the name that they will have, so that the record can say it first.
/// Those of other containers have theirs.
fn name_anonymous(container: &mut Container) -> Vec<String> {
    let mut fresh = Vec::new();
    let points = Arc::make_mut(&mut container.mounts);
    for mount in points.iter_mut().filter(|mount| mount.kind == MountKind::Volume && mount.anonymous) {
        if mount.name.is_none() {
            let name = names::new_id();
            fresh.push(name.clone());
            mount.name = Some(name);
        }
    }
    fresh
}

async fn make_volumes(
    shared: &Shared,
    container: &mut Container,
    fresh: &[String],
    made: &mut Vec<String>,
) -> Result<(), EngineError> {
    let spec = Arc::clone(&container.spec);
    let id = container.id.clone();
    let points = Arc::make_mut(&mut container.mounts);
    for mount in points.iter_mut().filter(|mount| mount.kind == MountKind::Volume) {
        mount.mount_id = names::new_id();
        let long = spec.mounts.iter().find(|long| mounts::clean(&long.target) == mount.destination);
        let (options, mut labels) = long
            .filter(|_| mount.long_form)
            .map(|long| (long.driver_options.clone(), long.labels.clone()))
            .unwrap_or_default();
        if mount.name.as_ref().is_some_and(|name| fresh.contains(name)) {
            labels.insert(crate::volumes::ANONYMOUS.to_owned(), String::new());
        }
        let volume =
            shared.volumes.create_for(&id, mount.name.as_deref(), &mount.driver, options, labels).await?;
        if fresh.contains(&volume.name) {
            made.push(volume.name.clone());
        }
        mount.name = Some(volume.name);
        mount.driver = volume.driver;
        if let Some(path) = volume.mountpoint {
            mount.source = path;
        }
    }
    Ok(())
}

/// Fills empty volumes with what the image has at their destinations.
async fn copy_up(
    shared: &Shared,
    container: &Container,
    image: &Image,
    dir: &Path,
) -> Result<(), EngineError> {
    let wanted: Vec<&MountPoint> = container
        .mounts
        .iter()
        .filter(|mount| mount.kind == MountKind::Volume && !mount.no_copy && mount.subpath.is_empty())
        .filter(|mount| may_have(image, &mount.destination))
        .collect();
    if wanted.is_empty() {
        return Ok(());
    }
    let root = shared.images.mount_rootfs(&container.id, dir).await?;
    let result = async {
        for mount in wanted {
            let Some(name) = &mount.name else { continue };
            let (from, destination) = (root.clone(), mount.destination.clone());
            let Some(source) = blocking(move || Ok(super::files::resolve_dir(&from, &destination))).await?
            else {
                continue;
            };
            let id = MountId(mount.mount_id.clone());
            let volume = shared.volumes.mount(name, &container.id, &id).await?;
            let copied = shared.volumes.copy_up(name, &source, &volume).await;
            let unmounted = shared.volumes.unmount(name, &id).await;
            copied?;
            unmounted?;
        }
        Ok(())
    }
    .await;
    shared.images.unmount_rootfs(&container.id, dir).await?;
    result
}

/// Whether an image can have a directory at `path`: only then is it worth a mount to look. A link on the way
/// counts as yes.
fn may_have(image: &Image, path: &str) -> bool {
    image.layer_dirs.iter().any(|layer| {
        // The image store may keep a layer's files in a subdirectory of its own.
        [layer.clone(), layer.join("diff")].iter().any(|root| {
            let mut at = root.clone();
            for part in path.split('/').filter(|part| !part.is_empty()) {
                at.push(part);
                match std::fs::symlink_metadata(&at) {
                    Ok(metadata) if metadata.is_symlink() => return true,
                    Ok(metadata) if metadata.is_dir() => {}
                    _ => return false,
                }
            }
            true
        })
    })
}

impl Shared {
    /// Removes what a failed creation made. What cannot be removed now is swept at the next start.
    pub async fn undo_create(&self, container: &Container, volumes: &[String]) {
        let dir = self.dir(&container.id);
        self.release_size(&container.id).await;
        if let Err(error) = self.remove_images(&container.id).await {
            tracing::warn!(container = %container.id, %error, "image mounts stay for now");
        } else if let Err(error) = self.images.remove_rootfs(&container.id, &dir).await {
            // Whatever is still mounted there must not be deleted through.
            tracing::warn!(container = %container.id, %error, "a half-made root file system stays for now");
        } else {
            let _ = blocking(move || Ok(std::fs::remove_dir_all(dir)?)).await;
        }
        for mount in container.mounts.iter() {
            if let Some(name) = &mount.name {
                self.volumes.unreference(name, &container.id);
            }
        }
        for name in volumes {
            if let Err(error) = self.volumes.remove(name, true).await {
                tracing::warn!(container = %container.id, volume = %name, %error, "an anonymous volume stays");
            }
        }
    }
}
