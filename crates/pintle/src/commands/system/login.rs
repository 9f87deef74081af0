//! `login` and `logout`.

use std::io::{IsTerminal, Read};

use anyhow::{Context as _, Result, bail};
use clap::Args;

use crate::client::Client;
use crate::commands::Done;
use crate::commands::prompt;
use crate::context::Context;
use crate::credentials::{self, Credentials, DOCKER_HUB};
use crate::json::Fields;

/// The most that a password on standard input may be.
const MAX_PASSWORD: u64 = 64 << 10;

/// Authenticate to a registry.
#[derive(Debug, Args)]
pub struct Login {
    /// Password or Personal Access Token (PAT)
    #[arg(short = 'p', long, value_name = "PASSWORD")]
    pub password: Option<String>,
    /// Take the Password or Personal Access Token (PAT) from stdin
    #[arg(long = "password-stdin", conflicts_with = "password")]
    pub password_stdin: bool,
    /// Username
    #[arg(short = 'u', long, value_name = "NAME")]
    pub username: Option<String>,
    /// The registry; the engine's default if not given
    #[arg(value_name = "SERVER")]
    pub server: Option<String>,
}

/// Log out from a registry.
#[derive(Debug, Args)]
pub struct Logout {
    /// The registry; the engine's default if not given
    #[arg(value_name = "SERVER")]
    pub server: Option<String>,
}

impl Login {
    /// Runs it.
    pub async fn run(self, context: &Context) -> Done {
        let mut config = context.config()?;
        let client = context.client().await?;
        let server = server(client, self.server.as_deref()).await;
        if self.password.is_some() {
            eprintln!("WARNING! Using --password via the CLI is insecure. Use --password-stdin.");
        }
        if self.username.is_none() && self.password.is_none() && !self.password_stdin {
            let known = credentials::lookup(&config, &server).await?;
            if !known.is_empty() {
                println!("Authenticating with existing credentials... [Username: {}]", known.username);
                if check(client, &known).await.is_ok() {
                    println!("\nLogin Succeeded");
                    return Ok(());
                }
                println!("Stored credentials invalid or expired");
            }
        }
        let (username, password) = self.ask()?;
        let mut given = Credentials { server, username, password, identity_token: String::new() };
        let answer = check(client, &given).await?;
        let token = answer.text("IdentityToken");
        if !token.is_empty() {
            token.clone_into(&mut given.identity_token);
            given.password.clear();
        }
        if credentials::save(&mut config, &given).await? {
            eprintln!(
                "\nWARNING! Your credentials are stored unencrypted in '{}'.\nConfigure a credential helper to remove this warning: credsStore in that file.\n",
                config.path().display()
            );
        }
        println!(
            "{}",
            match answer.text("Status") {
                "" => "Login Succeeded",
                status => status,
            }
        );
        Ok(())
    }

    fn ask(&self) -> Result<(String, String)> {
        let username = match &self.username {
            Some(name) => name.trim().to_owned(),
            None if self.password_stdin => bail!("the --password-stdin option requires --username to be set"),
            None if !std::io::stdin().is_terminal() => {
                bail!(
                    "cannot perform an interactive login from a non TTY device: use -u and --password-stdin"
                )
            }
            None => prompt::line("Username: ")?,
        };
        if username.is_empty() {
            bail!("username is empty");
        }
        let password = match &self.password {
            Some(password) => password.clone(),
            None if self.password_stdin => {
                let mut text = String::new();
                std::io::stdin().lock().take(MAX_PASSWORD).read_to_string(&mut text)?;
                text.strip_suffix('\n').map(|t| t.strip_suffix('\r').unwrap_or(t).to_owned()).unwrap_or(text)
            }
            None if !std::io::stdin().is_terminal() => {
                bail!("cannot perform an interactive login from a non TTY device: use --password-stdin")
            }
            None => rpassword::prompt_password("Password: ").context("cannot read the password")?,
        };
        if password.is_empty() {
            bail!("password is empty");
        }
        Ok((username, password))
    }
}

impl Logout {
    /// Runs it.
    pub async fn run(self, context: &Context) -> Done {
        // No engine is needed to forget something.
        let server = credentials::server_key(&host_of(self.server.as_deref().unwrap_or("")));
        let mut config = context.config()?;
        if server == DOCKER_HUB && self.server.is_none() {
            println!("Removing login credentials for {DOCKER_HUB}");
        } else {
            println!("Removing login credentials for {server}");
        }
        let known = credentials::erase(&mut config, &server).await?;
        if !known {
            println!("Not logged in to {server}");
        }
        Ok(())
    }
}

async fn server(client: &Client, given: Option<&str>) -> String {
    match given {
        Some(given) if !given.is_empty() => credentials::server_key(&host_of(given)),
        _ => client.default_registry().await,
    }
}

/// `https://host/path` and `host/` name the registry `host`; Docker Hub's own key is kept.
fn host_of(given: &str) -> String {
    if given.starts_with(DOCKER_HUB) {
        return DOCKER_HUB.to_owned();
    }
    let bare = given.strip_prefix("https://").or_else(|| given.strip_prefix("http://")).unwrap_or(given);
    bare.split('/').next().unwrap_or(bare).to_owned()
}

/// Lets the engine try the credentials.
async fn check(client: &Client, credentials: &Credentials) -> Result<serde_json::Value> {
    Ok(client.post("/auth").json(&credentials.document()).value().await?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn servers() {
        assert_eq!(host_of("https://r.example/v2/"), "r.example");
        assert_eq!(host_of("localhost:5000"), "localhost:5000");
        assert_eq!(host_of(DOCKER_HUB), DOCKER_HUB);
    }
}
