//! Images from Dockerfiles, step by step, as Docker's classic builder makes them.
//!
//! Each step that changes something becomes an image on top of the one before; the same step on the same image is not
//! done twice. What a step needs while it runs (a container, a scratch root file system, the context) goes with the
//! request, and what a crash leaves of it is removed at the next start: containers are marked as passing, scratch roots
//! are directories of containers that have no record, and the context is in a folder that is emptied.
//!
//! | module | job |
//! |---|---|
//! | `request` | what is asked for, what comes of it |
//! | `context` | the files to build from, and the Dockerfile among them |
//! | `arguments` | `ARG`, `--build-arg` and who sees them |
//! | `scratch` | a root file system to copy into or from |
//! | `stage` | a build as it goes on: stages, steps, the cache |
//! | `run`, `copy` | the steps that do more than change the configuration |

mod arguments;
mod context;
mod copy;
mod request;
mod run;
mod scratch;
mod stage;

use std::{
    collections::HashMap,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use pintle_image::{ImageId, Images, Progress};
use tokio_util::task::TaskTracker;

pub use request::{Built, Context, Failed, Request};

use crate::containers::Containers;

/// The builder. Cheap to clone.
#[derive(Clone)]
pub struct Builder(Arc<Inner>);

struct Inner {
    containers: Containers,
    images: Images,
    /// Emptied when the engine starts.
    tmp: PathBuf,
    /// Images that builds stand on, with how many do.
    held: Mutex<HashMap<ImageId, usize>>,
    /// What is cleared away after builds that were given up.
    tracker: TaskTracker,
}

impl Builder {
    /// A builder that keeps what it needs meanwhile in `tmp`.
    pub fn new(containers: Containers, images: Images, tmp: &Path) -> Self {
        let inner = Inner {
            containers,
            images,
            tmp: tmp.to_owned(),
            held: Mutex::default(),
            tracker: TaskTracker::new(),
        };
        Self(Arc::new(inner))
    }

    /// Builds an image. Dropped before its end, it leaves the images of the steps that were done, and nothing else.
    pub async fn build(
        &self,
        context: Context,
        request: Request,
        progress: &Progress,
    ) -> Result<Built, Failed> {
        stage::build(self, context, request, progress).await
    }

    /// Whether a build that is going on stands on an image: it must not be pruned.
    pub fn holds(&self, image: &ImageId) -> bool {
        self.held().contains_key(image)
    }

    /// Waits for what is still being cleared away.
    pub async fn shutdown(&self) {
        self.0.tracker.close();
        self.0.tracker.wait().await;
    }

    fn held(&self) -> MutexGuard<'_, HashMap<ImageId, usize>> {
        self.0.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn hold(&self, image: &ImageId) -> Held {
        *self.held().entry(image.clone()).or_default() += 1;
        Held { builder: self.clone(), image: image.clone() }
    }
}

/// While this lives, the image is in use.
struct Held {
    builder: Builder,
    image: ImageId,
}

impl Drop for Held {
    fn drop(&mut self) {
        let mut held = self.builder.held();
        if let Some(count) = held.get_mut(&self.image) {
            *count -= 1;
            if *count == 0 {
                held.remove(&self.image);
            }
        }
    }
}
