//! `images`.

use clap::Args;
use serde_json::Value;

use super::split;
use crate::commands::{Done, filter};
use crate::context::Context;
use crate::json::Fields;
use crate::render::format::{Columns, Row, Style, row};
use crate::render::{time, units};

/// List images.
#[derive(Debug, Args)]
pub struct List {
    /// Show all images (default hides intermediate images)
    #[arg(short = 'a', long)]
    pub all: bool,
    /// Show digests
    #[arg(long)]
    pub digests: bool,
    /// Filter output based on conditions provided
    #[arg(short = 'f', long, value_name = "FILTER")]
    pub filter: Vec<String>,
    /// Format output: 'table', 'table TEMPLATE', 'json' or a Go template
    #[arg(long, value_name = "FORMAT")]
    pub format: Option<String>,
    /// Don't truncate output
    #[arg(long = "no-trunc")]
    pub no_trunc: bool,
    /// Only show image IDs
    #[arg(short = 'q', long)]
    pub quiet: bool,
    /// Only images of this repository, or this REPOSITORY:TAG
    pub repository: Option<String>,
}

const HIDDEN: &[(&str, &str)] = &[
    ("Containers", "CONTAINERS"),
    ("CreatedAt", "CREATED AT"),
    ("Digest", "DIGEST"),
    ("SharedSize", "SHARED SIZE"),
    ("UniqueSize", "UNIQUE SIZE"),
    ("VirtualSize", "SIZE"),
];

const COLUMNS: Columns = Columns {
    shown: &[
        ("Repository", "REPOSITORY"),
        ("Tag", "TAG"),
        ("ID", "IMAGE ID"),
        ("CreatedSince", "CREATED"),
        ("Size", "SIZE"),
    ],
    hidden: HIDDEN,
    quiet: "ID",
};

const WITH_DIGESTS: Columns = Columns {
    shown: &[
        ("Repository", "REPOSITORY"),
        ("Tag", "TAG"),
        ("Digest", "DIGEST"),
        ("ID", "IMAGE ID"),
        ("CreatedSince", "CREATED"),
        ("Size", "SIZE"),
    ],
    hidden: HIDDEN,
    quiet: "ID",
};

impl List {
    /// Runs it.
    pub async fn run(self, context: &Context) -> Done {
        let client = context.client().await?;
        let mut filters = self.filter.clone();
        filters.extend(self.repository.as_ref().map(|r| format!("reference={r}")));
        let list = client
            .get("/images/json")
            .switch("all", self.all)
            .query_some("filters", filter::encode(&filters)?)
            .value()
            .await?;
        let rows: Vec<Row> =
            list.as_array().into_iter().flatten().flat_map(|image| rows(image, self.no_trunc)).collect();
        let configured = context.config().ok().and_then(|c| c.setting("imagesFormat").map(str::to_owned));
        let format = self.format.clone().or_else(|| configured.filter(|_| !self.quiet));
        let columns = if self.digests { &WITH_DIGESTS } else { &COLUMNS };
        let text = Style { format, quiet: self.quiet }.render(columns, &rows)?;
        print!("{text}");
        Ok(())
    }
}

/// One row for each tag, one for an image without any.
pub fn rows(image: &Value, whole: bool) -> Vec<Row> {
    let named =
        |key: &str| image.texts(key).into_iter().filter(|t| !t.starts_with("<none>")).collect::<Vec<_>>();
    let (tags, digests) = (named("RepoTags"), named("RepoDigests"));
    let digest_of = |repository: &str| {
        digests
            .iter()
            .map(|d| split(d))
            .find(|(name, _)| name == repository)
            .map_or("<none>".to_owned(), |d| d.1)
    };
    if tags.is_empty() {
        let (repository, digest) =
            digests.first().map_or(("<none>".to_owned(), "<none>".to_owned()), |d| split(d));
        return vec![cells(image, whole, &repository, "<none>", &digest)];
    }
    tags.iter()
        .map(|tag| {
            let (repository, tag) = split(tag);
            cells(image, whole, &repository, &tag, &digest_of(&repository))
        })
        .collect()
}

#[expect(clippy::cast_precision_loss, reason = "shown with three digits")]
fn cells(image: &Value, whole: bool, repository: &str, tag: &str, digest: &str) -> Row {
    let id = image.text("Id");
    let shown =
        if whole { id.to_owned() } else { id.trim_start_matches("sha256:").chars().take(12).collect() };
    let count = |key: &str, show: &dyn Fn(i64) -> String| match image.get(key).and_then(Value::as_i64) {
        None | Some(-1) => "N/A".to_owned(),
        Some(n) => show(n),
    };
    let unique = match image.get("SharedSize").and_then(Value::as_i64) {
        None | Some(-1) => "N/A".to_owned(),
        Some(shared) => units::size4((image.number("Size") - shared).max(0) as f64),
    };
    row([
        ("Containers", count("Containers", &|n| n.to_string()).into()),
        ("CreatedAt", time::stamp(image.number("Created")).into()),
        ("CreatedSince", time::age(image.number("Created")).into()),
        ("Digest", digest.into()),
        ("ID", shown.into()),
        ("Repository", repository.into()),
        ("SharedSize", count("SharedSize", &|n| units::size(n as f64)).into()),
        ("Size", units::size(image.number("Size") as f64).into()),
        ("Tag", tag.into()),
        ("UniqueSize", unique.into()),
        ("VirtualSize", units::size4(image.number("Size") as f64).into()),
    ])
}
