//! `COPY` and `ADD`.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use pintle_image::{
    Commit,
    archive::{self, Found},
    dockerfile::{Transfer, has_wildcards, matches},
};

use super::{Failed, scratch::Scratch, stage::Build};
use crate::{EngineError, containers::blocking};

/// One thing to copy.
#[derive(Clone)]
struct Item {
    root: PathBuf,
    path: String,
    found: Found,
    /// It was downloaded, and stays as it is.
    whole: bool,
}

impl Build<'_> {
    pub(super) async fn copy(&mut self, add: bool, transfer: &Transfer) -> Result<(), Failed> {
        let name = if add { "ADD" } else { "COPY" };
        self.copy_named(name, transfer).await.map_err(|failed| Failed {
            error: failed.error.context(format!("{name} failed")),
            code: failed.code,
        })
    }

    async fn copy_named(&mut self, name: &str, transfer: &Transfer) -> Result<(), Failed> {
        let add = name == "ADD";
        let sources: Vec<String> =
            transfer.sources.iter().map(|source| self.word(source)).collect::<Result<_, _>>()?;
        let destination = self.word(&transfer.destination)?;
        let chown = transfer.chown.as_ref().map(|chown| self.word(chown)).transpose()?;

        // Mounted as long as this step lasts.
        let other = match &transfer.from {
            None => None,
            Some(from) => {
                let image = self.source_image(from).await?;
                let held = self.builder.hold(&image);
                Some((Scratch::open(self.builder, Some(&image)).await?, held))
            }
        };
        let root = match &other {
            Some((scratch, _)) => scratch.root().to_owned(),
            None => self.place.context(),
        };
        let mut items = Vec::new();
        for source in &sources {
            if add && is_url(source) {
                items.push(self.fetch(source, &destination).await?);
            } else {
                items.extend(find(&root, source, transfer.from.is_some()).await?);
            }
        }
        if items.is_empty() {
            return Err(EngineError::invalid("no source files were specified").into());
        }
        if items.len() > 1 && !destination.ends_with('/') && destination != "." {
            return Err(EngineError::invalid(format!(
                "When using {name} with more than one source file, the destination must be a directory and end with \
                 a /"
            ))
            .into());
        }
        let target = self.absolute(&destination);
        let hash = hash(items.clone()).await?;
        let whose = chown.as_ref().map(|chown| format!("--chown={chown}")).unwrap_or_default();
        let told = self.nop(&format!("{name} {whose}{hash} in {destination} "));
        if self.cached(&told).await? {
            return Ok(());
        }
        let scratch = Scratch::open(self.builder, self.state.image.as_ref()).await?;
        let to = scratch.root().to_owned();
        // What is copied from stays there until it is copied, even if nobody waits for that any more.
        let place = Arc::clone(&self.place);
        let scratch = blocking(move || {
            let owner = owner(&to, chown.as_deref())?;
            for item in &items {
                put(item, &to, &target, owner, add && chown.is_none())?;
            }
            drop((place, other));
            Ok(scratch)
        })
        .await?;
        let made = scratch.commit(Commit { created_by: told.clone(), ..self.commit_of(&told) }).await?;
        self.arrive(made);
        Ok(())
    }

    /// A path of the image, its trailing slash kept.
    fn absolute(&self, destination: &str) -> String {
        let whole = match destination.starts_with('/') {
            true => destination.to_owned(),
            false => format!("{}/{destination}", self.state.config.working_dir),
        };
        let mut parts: Vec<&str> = Vec::new();
        for part in whole.split('/') {
            match part {
                "" | "." => {}
                ".." => drop(parts.pop()),
                part => parts.push(part),
            }
        }
        let slash = destination.ends_with('/') || destination == "." || destination.ends_with("/.");
        let end = if slash && !parts.is_empty() { "/" } else { "" };
        format!("/{}{end}", parts.join("/"))
    }

    /// A file from the web, in a folder of its own.
    async fn fetch(&mut self, address: &str, destination: &str) -> Result<Item, Failed> {
        let path = address.split(['?', '#']).next().unwrap_or_default();
        let after = path.split_once("://").map_or("", |(_, rest)| rest);
        let base = after.split_once('/').and_then(|(_, path)| path.rsplit('/').next()).unwrap_or_default();
        let name = match (base, destination.ends_with('/')) {
            ("" | "." | "..", true) => {
                return Err(
                    EngineError::invalid(format!("cannot determine filename from url: {address}")).into()
                );
            }
            ("" | "." | "..", false) => "file",
            (base, _) => base,
        };
        let mut file = self.builder.0.images.registry().download(address, self.out).await?;
        self.asides += 1;
        let dir = self.place.aside(self.asides);
        let (made, target) = (dir.clone(), dir.join(name));
        blocking(move || Ok(std::fs::create_dir_all(made)?)).await?;
        let mut out = tokio::fs::File::create(&target).await.map_err(EngineError::from)?;
        tokio::io::copy(&mut file, &mut out).await.map_err(EngineError::from)?;
        let out = out.into_std().await;
        blocking(move || {
            use std::os::unix::fs::PermissionsExt as _;
            out.set_permissions(std::fs::Permissions::from_mode(0o600))?;
            Ok(out.set_modified(std::time::SystemTime::UNIX_EPOCH)?)
        })
        .await?;
        Ok(Item { root: dir, path: name.to_owned(), found: Found::File, whole: true })
    }
}

fn is_url(source: &str) -> bool {
    source.starts_with("http://") || source.starts_with("https://")
}

/// What a source stands for. A pattern stands for all that matches; a path must be there.
async fn find(root: &Path, source: &str, elsewhere: bool) -> Result<Vec<Item>, EngineError> {
    let (root, source) = (root.to_owned(), source.to_owned());
    blocking(move || {
        let item = |path: &str| -> Result<Option<Item>, EngineError> {
            let found = archive::find(&root, path)?;
            Ok(found.map(|found| Item { root: root.clone(), path: path.to_owned(), found, whole: false }))
        };
        if has_wildcards(&source) {
            let pattern = source.trim_start_matches("./").trim_start_matches('/').to_owned();
            let mut names = Vec::new();
            archive::walk(&root, &mut |name| {
                if matches(&pattern, name) {
                    names.push(name.to_owned());
                }
            })?;
            let items: Result<Vec<Option<Item>>, EngineError> = names.iter().map(|name| item(name)).collect();
            return Ok(items?.into_iter().flatten().collect());
        }
        match item(&source)? {
            Some(item) => Ok(vec![item]),
            None if elsewhere => {
                Err(EngineError::not_found(format!("stat {source}: file does not exist")))
            }
            None => Err(EngineError::not_found(format!(
                "file not found in build context or excluded by .dockerignore: stat {source}: file does not exist"
            ))),
        }
    })
    .await
}

/// What the history calls the content, as Docker does: `file:…`, `dir:…` or `multi:…`.
async fn hash(items: Vec<Item>) -> Result<String, EngineError> {
    blocking(move || {
        let mut all = Vec::new();
        for item in &items {
            let kind = if item.found == Found::Directory { "dir" } else { "file" };
            let name = match item.found {
                // Its name counts where it is kept.
                Found::File => item.path.rsplit('/').next().unwrap_or_default(),
                Found::Directory => "",
            };
            let print = archive::fingerprint(&item.root, &item.path)?;
            all.push((
                kind,
                pintle_image::Digest::of(format!("{name}\0{print}").as_bytes()).hex().to_owned(),
            ));
        }
        Ok(match all.as_slice() {
            [(kind, print)] => format!("{kind}:{print}"),
            all => {
                let joined: Vec<&str> = all.iter().map(|(_, print)| print.as_str()).collect();
                format!("multi:{}", pintle_image::Digest::of(joined.join(",").as_bytes()).hex())
            }
        })
    })
    .await
}

fn put(item: &Item, to: &Path, target: &str, owner: (u32, u32), unpack: bool) -> Result<(), EngineError> {
    if unpack && !item.whole && archive::is_archive(&item.root, &item.path)? {
        return Ok(archive::unpack_from(&item.root, &item.path, to, target)?);
    }
    Ok(archive::transfer(&item.root, &item.path, to, target, owner)?)
}

/// `--chown`: names are looked up in the image. A user without a group is in the group of the same number.
fn owner(root: &Path, chown: Option<&str>) -> Result<(u32, u32), EngineError> {
    let Some(chown) = chown.filter(|chown| !chown.is_empty()) else { return Ok((0, 0)) };
    let found = pintle_runtime::spec::resolve_user(root, chown, &[])
        .map_err(|error| EngineError::invalid(format!("--chown={chown}: {error}")))?;
    let gid = if chown.contains(':') { found.gid } else { found.uid };
    Ok((found.uid, gid))
}
