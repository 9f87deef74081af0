//! Content store, layers, container root filesystems and the registry client.
//!
//! | module | what lives there |
//! |---|---|
//! | [`images`] | [`Images`]: pull, push, load, save, import, list, tag, remove, prune, root filesystems |
//! | [`blobs`] | [`Blobs`]: the content-addressed store that images and plugins share |
//! | [`registry`] | [`Registry`]: resolve, fetch and push over the distribution protocol, with its authentication |
//! | [`archive`] | tar in and out of directories, with every archive treated as hostile |
//! | [`reference`], [`digest`], [`platform`], [`manifest`], [`config`] | the nouns, parsed at the edge |
//! | [`dockerfile`] | Dockerfiles: text in, instructions out |
//! | [`progress`] | Docker's progress lines |
//!
//! Nothing here knows HTTP routes, containers or plugins. Whoever keeps a blob says so with [`Blobs::hold`].

pub mod archive;
pub mod auth;
pub mod blobs;
pub mod config;
pub mod digest;
pub mod dockerfile;
pub mod error;
pub mod images;
mod layers;
mod locks;
pub mod manifest;
pub mod platform;
pub mod progress;
pub mod reference;
pub mod registry;
mod removal;

pub use auth::Auth;
pub use blobs::Blobs;
pub use config::{ContainerConfig, ImageConfig};
pub use digest::{Digest, ImageId};
pub use error::{ErrorKind, ImageError};
pub use images::{
    Change, ChangeKind, Commit, HistoryEntry, Holder, Image, Images, Loaded, Options, Pulled, Pushed,
    Removed, Usage,
};
pub use manifest::{Descriptor, Manifest};
pub use platform::Platform;
pub use progress::{Progress, ProgressEvent};
pub use reference::Reference;
pub use registry::{Login, Offer, Proxies, Registry, Resolved, Scope};
pub use removal::emptied;
