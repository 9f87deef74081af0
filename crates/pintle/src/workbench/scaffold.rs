//! `plugin new`: a plugin that works before its author has changed a line.

use std::fmt::Write as _;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};

use super::{sdk, starter};

/// What a plugin serves.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Kind {
    /// Volumes
    Volume,
    /// Networks
    Network,
    /// Addresses
    Ipam,
    /// Authorization
    Authz,
    /// Containers' lines
    Log,
}

impl Kind {
    /// The kind of that name.
    pub fn named(name: &str) -> Option<Self> {
        clap::ValueEnum::from_str(name, false).ok()
    }

    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Volume => "volume",
            Self::Network => "network",
            Self::Ipam => "ipam",
            Self::Authz => "authz",
            Self::Log => "log",
        }
    }

    /// What the plugin says in `config.json` that it serves.
    fn capability(self) -> &'static str {
        match self {
            Self::Volume => "volumedriver",
            Self::Network => "networkdriver",
            Self::Ipam => "ipamdriver",
            Self::Authz => "authz",
            Self::Log => "logdriver",
        }
    }

    /// The plugin in a few words.
    fn words(self) -> &'static str {
        match self {
            Self::Volume => "a volume plugin",
            Self::Network => "a network plugin",
            Self::Ipam => "an IPAM plugin",
            Self::Authz => "an authorization plugin",
            Self::Log => "a log plugin",
        }
    }

    /// How to use it, once it is enabled.
    fn usage(self, name: &str) -> String {
        match self {
            Self::Volume => format!("pintle volume create -d {name} data"),
            Self::Network => format!("pintle network create -d {name} net"),
            Self::Ipam => format!("pintle network create --ipam-driver {name} net"),
            Self::Authz => format!("pintle daemon --authorization-plugin {name}"),
            Self::Log => format!("pintle run --log-driver {name} alpine echo hello"),
        }
    }

    /// What `config.json` asks for.
    fn needs(self) -> &'static str {
        match self {
            Self::Volume => {
                "  // Volumes are directories here; the engine shows them to containers.\n  \"propagatedMount\": \"/mnt/volumes\",\n  \"linux\": {\n    \"noNewPrivileges\": true // it needs no right that a container lacks\n  }\n"
            }
            Self::Network => {
                "  // It makes links where the host's are.\n  \"network\": { \"type\": \"host\" },\n  \"linux\": {\n    \"capabilities\": [\"CAP_NET_ADMIN\"],\n    \"noNewPrivileges\": true\n  }\n"
            }
            Self::Log => {
                "  // The lines are below this; upgrades leave it alone.\n  \"propagatedMount\": \"/mnt/logs\",\n  \"linux\": {\n    \"noNewPrivileges\": true // it needs no right that a container lacks\n  }\n"
            }
            Self::Ipam | Self::Authz => {
                "  \"linux\": {\n    \"noNewPrivileges\": true // it needs no right that a container lacks\n  }\n"
            }
        }
    }
}

/// What a plugin is written in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Language {
    /// A crate on pintle's SDK
    Rust,
    /// One file, standard library only
    Python,
}

/// What to make.
#[derive(Debug, Clone)]
pub struct Scaffold {
    /// What it serves.
    pub kind: Kind,
    /// What it is written in.
    pub language: Language,
    /// Put this program into the root file system instead of source.
    pub builtin: bool,
    /// A checkout of the SDK to depend on, instead of a copy of the one that this program carries.
    pub sdk_path: Option<PathBuf>,
    /// The plugin's name.
    pub name: String,
}

impl Scaffold {
    /// Writes the files into `dir`, which must be new or empty. Returns their paths in it.
    pub fn write(&self, dir: &Path) -> Result<Vec<PathBuf>> {
        check_name(&self.name)?;
        if dir.exists() && std::fs::read_dir(dir)?.next().is_some() {
            bail!("{} is not empty; choose another directory with --dir", dir.display());
        }
        let short = short_name(&self.name);
        let mut files: Vec<(&str, String, u32)> = vec![
            ("config.json", self.config(&short), 0o644),
            ("README.md", self.readme(&short), 0o644),
            (".gitignore", if self.builtin { String::new() } else { "/target\n/rootfs\n".to_owned() }, 0o644),
        ];
        files.retain(|(_, text, _)| !text.is_empty());
        match (self.builtin, self.language) {
            (true, _) => {}
            (false, Language::Rust) => {
                files.push(("Cargo.toml", self.cargo_toml(&short)?, 0o644));
                files.push(("src/main.rs", named(starter::rust(self.kind), &short), 0o644));
                files.push(("tests/conformance.rs", named(starter::TEST, &short), 0o644));
                if self.sdk_path.is_none() {
                    files.push(("Cargo.lock", sdk::lock(&short, self.libraries()), 0o644));
                }
            }
            (false, Language::Python) => {
                files.push(("rootfs/plugin.py", named(starter::python(self.kind), &short), 0o755));
                files.retain(|(name, ..)| *name != ".gitignore");
            }
        }
        let mut written = Vec::new();
        for (name, text, mode) in files {
            let path = dir.join(name);
            if let Some(parent) = path.parent() {
                std::fs::create_dir_all(parent)
                    .with_context(|| format!("cannot make {}", parent.display()))?;
            }
            std::fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))?;
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode))?;
            written.push(PathBuf::from(name));
        }
        if self.language == Language::Rust && !self.builtin && self.sdk_path.is_none() {
            sdk::write(&dir.join("sdk"))?;
            written.push(PathBuf::from("sdk/"));
        }
        if self.builtin {
            let program = dir.join("rootfs/bin/pintle");
            std::fs::create_dir_all(dir.join("rootfs/bin"))?;
            copy_self(&program)?;
            written.push(PathBuf::from("rootfs/bin/pintle"));
        }
        Ok(written)
    }

    fn config(&self, short: &str) -> String {
        let (entrypoint, socket) = match (self.builtin, self.language) {
            (true, _) => {
                (format!("\"/bin/pintle\", \"plugin\", \"serve\", \"{}\"", self.kind.name()), starter::NAME)
            }
            (false, Language::Rust) => (format!("\"/{short}\""), short),
            (false, Language::Python) => ("\"/usr/bin/python3\", \"/plugin.py\"".to_owned(), short),
        };
        let mut out = String::from("{\n");
        let _ = writeln!(out, "  \"description\": \"{}: {}\",", self.name, self.kind.words());
        let _ = writeln!(out, "  \"entrypoint\": [{entrypoint}],");
        let _ =
            writeln!(out, "  \"interface\": {{\n    \"types\": [\"docker.{}/1.0\"],", self.kind.capability());
        let _ = writeln!(
            out,
            "    \"socket\": \"{socket}.sock\" // the program listens on /run/docker/plugins/{socket}.sock"
        );
        out += "  },\n";
        out += self.kind.needs();
        out += "}\n";
        out
    }

    /// The crates of pintle's that the example needs.
    fn libraries(&self) -> &'static [&'static str] {
        match self.kind {
            Kind::Network => &[sdk::CRATE, sdk::NETLINK],
            Kind::Volume | Kind::Ipam | Kind::Authz | Kind::Log => &[sdk::CRATE],
        }
    }

    fn cargo_toml(&self, short: &str) -> Result<String> {
        let sdk = match &self.sdk_path {
            None => PathBuf::from("sdk").join(sdk::CRATE),
            Some(path) => {
                let crates = [path.clone(), path.join("crates/sdk"), path.join(sdk::CRATE)];
                let found = crates
                    .iter()
                    .find(|dir| dir.join("Cargo.toml").is_file() && dir.join("src/server.rs").is_file());
                let found = found.with_context(|| format!("{} is not pintle's SDK", path.display()))?;
                found.canonicalize()?
            }
        };
        let mut libraries = format!("{} = {{ path = {sdk:?} }}\n", sdk::CRATE);
        if self.libraries().contains(&sdk::NETLINK) {
            // In the copy the crates stand beside each other under their names, in a checkout under the last part.
            let places = [sdk.with_file_name(sdk::NETLINK), sdk.with_file_name("netlink")];
            let found = places.iter().find(|dir| self.sdk_path.is_none() || dir.is_dir());
            let netlink =
                found.with_context(|| format!("there is no {} beside {}", sdk::NETLINK, sdk.display()))?;
            let _ = writeln!(libraries, "{} = {{ path = {netlink:?} }}", sdk::NETLINK);
        }
        Ok(format!(
            "[package]\nname = \"{short}\"\nversion = \"0.1.0\"\nedition = \"2024\"\n\n[dependencies]\n{libraries}\n[profile.release]\nstrip = true\n\n# Not part of a workspace further up, and the SDK not part of this one.\n[workspace]\nexclude = [\"sdk\"]\n"
        ))
    }

    fn readme(&self, short: &str) -> String {
        let name = &self.name;
        let mut out = format!("# {name}\n\n{}.\n\n", capitalized(self.kind.words()));
        match (self.builtin, self.language) {
            (true, _) => {
                out += "`rootfs/bin/pintle` is a copy of pintle, which carries the compiled example. The source of that\nexample is what `pintle plugin new NAME` (without `--builtin`) writes.\n\n";
            }
            (false, Language::Rust) => {
                let root = if self.kind == Kind::Network { "; as root" } else { " and without root" };
                let _ = writeln!(
                    out,
                    "The driver is in `src/main.rs`. `plugin build` compiles it to a static program and puts that into\n`rootfs/{short}`, which is all that the plugin's root file system needs. `cargo test` runs the\nconformance suite on it, without an engine{root}.\n"
                );
                if self.sdk_path.is_none() {
                    out += "`sdk/` is the SDK of the pintle that wrote this, to be kept with the source; a newer pintle puts\nits own there with `pintle plugin sdk sdk`.\n\n";
                }
            }
            (false, Language::Python) => {
                if self.kind == Kind::Network {
                    out += "It needs the program `ip` of iproute2 in `rootfs` beside Python.\n\n";
                }
                out += "The driver is `rootfs/plugin.py`. It needs Python in `rootfs`, for example from an image:\n\n```sh\npintle create --name tmp python:3-alpine\npintle export tmp | tar -x -C rootfs\nln -sf /usr/local/bin/python3 rootfs/usr/bin/python3\npintle rm tmp\n```\n\n";
            }
        }
        let usage = self.kind.usage(name);
        let _ = writeln!(
            out,
            "```sh\npintle plugin validate .                  # mistakes, privileges, what could be dropped\npintle plugin build -t {name} .\npintle plugin enable {name}\npintle plugin test {name}                 # the conformance suite\n{usage}\n```\n\n`config.json` may have comments; packages for other engines are written without them."
        );
        out
    }
}

/// A sentence of these words, without its full stop.
fn capitalized(words: &str) -> String {
    let mut letters = words.chars();
    let first = letters.next().map(|letter| letter.to_ascii_uppercase());
    let words = first.into_iter().chain(letters).collect::<String>();
    format!("{words} for pintle and Docker")
}

/// The example's text under another name.
fn named(text: &str, short: &str) -> String {
    text.replace(&format!("\"{}\"", starter::NAME), &format!("\"{short}\""))
        .replace(&format!("/{}.sock", starter::NAME), &format!("/{short}.sock"))
        .replace("CARGO_BIN_EXE_PROGRAM", &format!("CARGO_BIN_EXE_{short}"))
}

/// The last part of a name, without its tag: a file name, a crate name.
pub fn short_name(name: &str) -> String {
    let last = name.rsplit('/').next().unwrap_or(name);
    last.split([':', '@']).next().unwrap_or(last).replace('.', "-")
}

fn check_name(name: &str) -> Result<()> {
    let part = |p: &str| {
        !p.is_empty()
            && p.starts_with(|c: char| c.is_ascii_lowercase() || c.is_ascii_digit())
            && p.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || "._-:".contains(c))
    };
    if !name.split('/').all(part) || !short_name(name).starts_with(|c: char| c.is_ascii_lowercase()) {
        bail!(
            "{name:?} is not a plugin's name: lower-case letters, digits, '.', '_' and '-', as in me/my-volumes"
        );
    }
    Ok(())
}

/// Copies this program to `target`, executable.
pub fn copy_self(target: &Path) -> Result<()> {
    std::fs::copy("/proc/self/exe", target)
        .with_context(|| format!("cannot copy this program to {}", target.display()))?;
    std::fs::set_permissions(target, std::fs::Permissions::from_mode(0o755))?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::validate::{Level, check};
    use super::*;

    fn scaffold(language: Language, builtin: bool) -> (tempfile::TempDir, Vec<PathBuf>) {
        scaffold_of(Kind::Volume, language, builtin)
    }

    fn scaffold_of(kind: Kind, language: Language, builtin: bool) -> (tempfile::TempDir, Vec<PathBuf>) {
        let dir = tempfile::tempdir().unwrap();
        let name = "me/my-volumes:1.0".into();
        let scaffold = Scaffold { kind, language, builtin, sdk_path: None, name };
        let files = scaffold.write(dir.path()).unwrap();
        (dir, files)
    }

    #[test]
    fn a_builtin_scaffold_is_a_plugin_already() {
        for kind in [Kind::Volume, Kind::Network, Kind::Ipam, Kind::Authz] {
            let (dir, _) = scaffold_of(kind, Language::Rust, true);
            let report = check(dir.path());
            assert_eq!(report.count(Level::Error), 0, "{report}");
            let config = std::fs::read_to_string(dir.path().join("config.json")).unwrap();
            assert!(config.contains(&format!("docker.{}/1.0", kind.capability())), "{config}");
            assert_eq!(Kind::named(kind.name()), Some(kind));
        }
    }

    #[test]
    fn a_network_scaffold_has_the_library_for_links() {
        let (dir, _) = scaffold_of(Kind::Network, Language::Rust, false);
        let manifest = std::fs::read_to_string(dir.path().join("Cargo.toml")).unwrap();
        assert!(manifest.contains("pintle-netlink = { path = \"sdk/pintle-netlink\" }"), "{manifest}");
        assert!(dir.path().join("sdk/pintle-netlink/src/lib.rs").is_file());
        let lock = std::fs::read_to_string(dir.path().join("Cargo.lock")).unwrap();
        assert!(lock.contains("name = \"netlink-sys\""), "{lock}");
        let (dir, _) = scaffold(Language::Rust, false);
        let lock = std::fs::read_to_string(dir.path().join("Cargo.lock")).unwrap();
        assert!(!lock.contains("name = \"netlink-sys\""), "a volume plugin makes no links");
    }

    #[test]
    fn a_rust_scaffold_carries_its_own_name() {
        let (dir, files) = scaffold(Language::Rust, false);
        assert!(files.contains(&PathBuf::from("src/main.rs")));
        let source = std::fs::read_to_string(dir.path().join("src/main.rs")).unwrap();
        assert!(source.contains("const NAME: &str = \"my-volumes\""), "{source}");
        let code = source.lines().filter(|l| !l.trim().is_empty() && !l.trim().starts_with("//")).count();
        assert!(code < 90, "the example has {code} lines of code");
        let config = std::fs::read_to_string(dir.path().join("config.json")).unwrap();
        let parsed = pintle_wire::config::PluginConfig::parse(config.as_bytes()).unwrap();
        assert_eq!(parsed.interface.socket, "my-volumes.sock");
        assert_eq!(parsed.entrypoint, ["/my-volumes"]);
        let manifest = std::fs::read_to_string(dir.path().join("Cargo.toml")).unwrap();
        assert!(manifest.contains("path = \"sdk/pintle-sdk\""), "{manifest}");
    }

    #[test]
    fn nothing_is_overwritten_and_names_are_checked() {
        let (dir, _) = scaffold(Language::Python, false);
        let again = Scaffold {
            kind: Kind::Volume,
            language: Language::Rust,
            builtin: false,
            sdk_path: None,
            name: "x".into(),
        };
        assert!(again.write(dir.path()).unwrap_err().to_string().contains("not empty"));
        for name in ["", "A", "../x", "a//b", "a b", "1"] {
            assert!(check_name(name).is_err(), "{name}");
        }
    }
}
