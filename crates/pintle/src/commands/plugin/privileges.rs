//! What a plugin asks for, shown and granted.

use anyhow::{Result, bail};
use clap::Args;
use serde_json::Value;

use crate::client::Client;
use crate::commands::prompt::confirm;
use crate::credentials::Credentials;
use crate::json::Fields;

/// How privileges are granted.
#[derive(Debug, Clone, Default, Args)]
pub struct Granting {
    /// Grant all permissions necessary to run the plugin
    #[arg(long = "grant-all-permissions")]
    pub all: bool,
    /// Grant this permission, and refuse any that is not named: NAME or NAME=VALUE, as in 'mount=/data'
    #[arg(long, value_name = "PERMISSION", conflicts_with = "all")]
    pub allow: Vec<String>,
}

impl Granting {
    /// Asks the engine what `remote` wants, and the user, or the flags, whether it may have it. Returns what to send.
    pub async fn settle(
        &self,
        client: &Client,
        remote: &str,
        name: &str,
        settings: &[String],
        auth: &Credentials,
        what: &str,
    ) -> Result<Value> {
        let wanted = client
            .get("/plugins/privileges")
            .query("remote", remote)
            .header("X-Registry-Auth", auth.header())
            .value()
            .await?;
        let list: Vec<Value> = wanted.as_array().cloned().unwrap_or_default();
        if !list.is_empty() && !self.all {
            if self.allow.is_empty() {
                println!("Plugin \"{name}\" is requesting the following privileges:");
                list.iter().for_each(|p| println!(" - {}", line(p)));
                if !settings.is_empty() {
                    println!("You set, in place of its own: {}", settings.join(" "));
                }
                if !confirm("Do you grant the above permissions?") {
                    bail!("permission denied while {what} plugin {name}");
                }
            } else {
                let refused: Vec<String> =
                    list.iter().filter(|p| !self.allows(p)).map(|p| format!(" - {}", line(p))).collect();
                if !refused.is_empty() {
                    bail!(
                        "permission denied while {what} plugin {name}: it also wants, and --allow does not name:\n{}",
                        refused.join("\n")
                    );
                }
            }
        }
        Ok(Value::Array(list))
    }

    /// A privilege is allowed if its name is, or if each of its values is.
    fn allows(&self, privilege: &Value) -> bool {
        let name = privilege.text("Name");
        let values = privilege.texts("Value");
        let granted = |value: &str| {
            self.allow.iter().any(|a| {
                a.split_once('=').is_some_and(|(n, v)| n == name && v.split(',').any(|v| v == value))
            })
        };
        self.allow.iter().any(|a| a == name) || (!values.is_empty() && values.iter().all(|v| granted(v)))
    }
}

/// `mount: [/data]`.
pub fn line(privilege: &Value) -> String {
    format!("{}: [{}]", privilege.text("Name"), privilege.texts("Value").join(" "))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn allow_names_all_or_single_values() {
        let granting =
            |allow: &[&str]| Granting { all: false, allow: allow.iter().map(|a| (*a).to_owned()).collect() };
        let mount = json!({"Name": "mount", "Value": ["/data"]});
        let caps = json!({"Name": "capabilities", "Value": ["CAP_SYS_ADMIN", "CAP_MKNOD"]});
        assert!(granting(&["mount"]).allows(&mount));
        assert!(granting(&["mount=/data"]).allows(&mount));
        assert!(!granting(&["mount=/"]).allows(&mount));
        assert!(!granting(&["capabilities=CAP_SYS_ADMIN"]).allows(&caps));
        assert!(granting(&["capabilities=CAP_SYS_ADMIN,CAP_MKNOD"]).allows(&caps));
        assert!(!granting(&["mount"]).allows(&caps));
        assert_eq!(line(&caps), "capabilities: [CAP_SYS_ADMIN CAP_MKNOD]");
    }
}
