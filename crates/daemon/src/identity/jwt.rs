//! Tokens (RFC 7519) of an issuer whose keys (RFC 7517) are in a file or at an address.
//!
//! Keys are looked for again when a token names one that is not known, and every so often, since an issuer takes keys back. An
//! issuer that cannot be reached leaves the keys in force that are known, for a day.

use std::{
    path::Path,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use jsonwebtoken::{
    DecodingKey, Validation,
    jwk::{Jwk, JwkSet},
};
use serde_json::Value;

use super::{JwtSettings, verify};

/// How long a request waits for keys.
const BUDGET: Duration = Duration::from_secs(5);
/// How long keys are believed without a look.
const FRESH: Duration = Duration::from_secs(300);
/// How long keys are believed of an issuer that cannot be reached.
const STALE: Duration = Duration::from_secs(24 * 3600);
/// How soon keys are looked for again, whoever asks: tokens are made up easily.
const PAUSE: Duration = Duration::from_secs(10);
/// No honest set of keys, and no honest token, is longer.
const LONGEST: usize = 1 << 20;
const LONGEST_TOKEN: usize = 16 << 10;

/// Whose a token is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Bearer {
    pub(super) user: String,
    pub(super) groups: Vec<String>,
}

/// Understands tokens.
#[derive(Debug)]
pub(super) struct Tokens {
    pub(super) settings: JwtSettings,
    client: Option<reqwest::Client>,
    keys: Mutex<Keys>,
    /// One look at a time; whoever waits for it finds what it found.
    looking: tokio::sync::Mutex<()>,
}

#[derive(Debug, Default, Clone)]
struct Keys {
    known: Arc<Vec<Jwk>>,
    /// When these were found.
    found: Option<Instant>,
    /// When somebody looked last.
    looked: Option<Instant>,
}

impl Tokens {
    pub(super) fn open(settings: JwtSettings) -> Result<Self, String> {
        verify::install();
        let is_address = settings.jwks.starts_with("https://") || settings.jwks.starts_with("http://");
        let client = is_address.then(|| client(settings.jwks_ca.as_deref())).transpose()?;
        let mut keys = Keys::default();
        if !is_address {
            let known = read(Path::new(&settings.jwks))?;
            let now = Some(Instant::now());
            keys = Keys { known: Arc::new(known), found: now, looked: now };
        }
        Ok(Self { settings, client, keys: Mutex::new(keys), looking: tokio::sync::Mutex::default() })
    }

    fn keys(&self) -> Keys {
        self.keys.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Whose the token is, or why it is nobody's.
    pub(super) async fn verify(&self, token: &str) -> Result<Bearer, String> {
        if token.len() > LONGEST_TOKEN {
            return Err(format!("it is longer than {LONGEST_TOKEN} bytes"));
        }
        let header = jsonwebtoken::decode_header(token).map_err(|error| error.to_string())?;
        if !verify::ALGORITHMS.contains(&header.alg) {
            return Err(format!("it is signed by {:?}, and public keys are wanted", header.alg));
        }
        let is_fresh = |keys: &Keys| keys.found.is_some_and(|when| when.elapsed() < FRESH);
        let mut keys = self.keys();
        let mut trouble = None;
        if !is_fresh(&keys) || chosen(&keys.known, header.kid.as_deref()).is_none() {
            trouble = self.look().await.err();
            keys = self.keys();
        }
        if keys.found.is_none_or(|when| when.elapsed() >= STALE) {
            return Err(trouble.unwrap_or_else(|| "the issuer's keys are not known".to_owned()));
        }
        let Some(key) = chosen(&keys.known, header.kid.as_deref()) else {
            let kid = header.kid.unwrap_or_default();
            return Err(match trouble {
                Some(trouble) => trouble,
                None => format!("its key {kid:?} is none of the issuer's"),
            });
        };
        let decoding = DecodingKey::from_jwk(key).map_err(|error| format!("the issuer's key: {error}"))?;
        if !decoding.family().algorithms().contains(&header.alg) {
            return Err("it is signed in another way than its key is for".to_owned());
        }
        let mut rules = Validation::new(header.alg);
        rules.set_issuer(&[&self.settings.issuer]);
        rules.set_audience(&[&self.settings.audience]);
        rules.set_required_spec_claims(&["exp", "iss", "aud"]);
        rules.validate_nbf = true;
        rules.leeway = 30;
        let claims = jsonwebtoken::decode::<Value>(token, &decoding, &rules);
        self.bearer(&claims.map_err(|error| error.to_string())?.claims)
    }

    fn bearer(&self, claims: &Value) -> Result<Bearer, String> {
        let user = claims[self.settings.user_claim.as_str()].as_str().unwrap_or_default();
        if user.is_empty() {
            return Err(format!("it has no claim {:?}, which says whose it is", self.settings.user_claim));
        }
        let groups = match &claims[self.settings.groups_claim.as_str()] {
            Value::String(text) => text.split_whitespace().map(str::to_owned).collect(),
            Value::Array(list) => list.iter().filter_map(Value::as_str).map(str::to_owned).collect(),
            _ => Vec::new(),
        };
        Ok(Bearer { user: user.to_owned(), groups })
    }

    /// Looks for the keys again, unless somebody just did.
    async fn look(&self) -> Result<(), String> {
        let _one = self.looking.lock().await;
        if self.keys().looked.is_some_and(|when| when.elapsed() < PAUSE) {
            return Ok(());
        }
        let found = match &self.client {
            None => {
                let file = self.settings.jwks.clone();
                let read = tokio::task::spawn_blocking(move || read(Path::new(&file))).await;
                read.unwrap_or_else(|error| Err(error.to_string()))
            }
            Some(client) => {
                let fetched = tokio::time::timeout(BUDGET, fetch(client, &self.settings.jwks)).await;
                fetched.unwrap_or_else(|_| Err(format!("no answer within {BUDGET:?}")))
            }
        };
        let mut keys = self.keys.lock().unwrap_or_else(PoisonError::into_inner);
        keys.looked = Some(Instant::now());
        match found {
            Ok(known) => {
                *keys = Keys { known: Arc::new(known), found: keys.looked, looked: keys.looked };
                Ok(())
            }
            Err(why) => {
                tracing::warn!("the keys of {} are not to be had: {why}", self.settings.issuer);
                Err(format!("the issuer's keys are not to be had: {why}"))
            }
        }
    }
}

/// The key of that name; without a name, the only one there is.
fn chosen<'a>(keys: &'a [Jwk], name: Option<&str>) -> Option<&'a Jwk> {
    match (name, keys) {
        (Some(name), _) => keys.iter().find(|key| key.common.key_id.as_deref() == Some(name)),
        (None, [only]) => Some(only),
        (None, _) => None,
    }
}

fn understood(bytes: &[u8]) -> Result<Vec<Jwk>, String> {
    let set: JwkSet = serde_json::from_slice(bytes).map_err(|error| format!("no set of keys: {error}"))?;
    let usable: Vec<_> = set.keys.into_iter().filter(|key| DecodingKey::from_jwk(key).is_ok()).collect();
    if usable.is_empty() { Err("there is no key in it that can be used".to_owned()) } else { Ok(usable) }
}

fn read(file: &Path) -> Result<Vec<Jwk>, String> {
    let failed = |error: &dyn std::fmt::Display| format!("{}: {error}", file.display());
    let bytes = std::fs::read(file).map_err(|error| failed(&error))?;
    understood(&bytes).map_err(|error| failed(&error))
}

fn client(ca: Option<&Path>) -> Result<reqwest::Client, String> {
    // Somebody may have done it.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let mut builder =
        reqwest::Client::builder().connect_timeout(BUDGET).redirect(reqwest::redirect::Policy::none());
    if let Some(file) = ca {
        let failed = |error: &dyn std::fmt::Display| format!("{}: {error}", file.display());
        let pem = std::fs::read(file).map_err(|error| failed(&error))?;
        let authorities = reqwest::Certificate::from_pem_bundle(&pem).map_err(|error| failed(&error))?;
        builder = builder.tls_certs_only(authorities);
    }
    builder.build().map_err(|error| format!("an HTTP client for the issuer's keys: {error}"))
}

async fn fetch(client: &reqwest::Client, address: &str) -> Result<Vec<Jwk>, String> {
    let failed = |error: reqwest::Error| format!("{address}: {error}");
    let mut answer = client.get(address).send().await.map_err(failed)?;
    if !answer.status().is_success() {
        return Err(format!("{address} answered {}", answer.status()));
    }
    let mut bytes = Vec::new();
    while let Some(piece) = answer.chunk().await.map_err(failed)? {
        bytes.extend_from_slice(&piece);
        if bytes.len() > LONGEST {
            return Err(format!("{address} answered more than {LONGEST} bytes"));
        }
    }
    understood(&bytes).map_err(|why| format!("{address}: {why}"))
}

#[cfg(test)]
mod tests {
    use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
    use ring::{
        rand::SystemRandom,
        signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair as _},
    };
    use serde_json::json;

    use super::*;

    enum Issuer {
        Curve(EcdsaKeyPair, SystemRandom),
        Edwards(Ed25519KeyPair),
    }

    fn base64(bytes: impl AsRef<[u8]>) -> String {
        BASE64_URL_SAFE_NO_PAD.encode(bytes)
    }

    impl Issuer {
        fn curve() -> Self {
            let random = SystemRandom::new();
            let key = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &random).unwrap();
            let key = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, key.as_ref(), &random);
            Self::Curve(key.unwrap(), random)
        }

        fn edwards() -> Self {
            let key = Ed25519KeyPair::generate_pkcs8(&SystemRandom::new()).unwrap();
            Self::Edwards(Ed25519KeyPair::from_pkcs8(key.as_ref()).unwrap())
        }

        fn key(&self, name: &str) -> Value {
            match self {
                Self::Curve(key, _) => {
                    let (x, y) = key.public_key().as_ref()[1..].split_at(32);
                    json!({"kty": "EC", "crv": "P-256", "kid": name, "x": base64(x), "y": base64(y)})
                }
                Self::Edwards(key) => {
                    json!({"kty": "OKP", "crv": "Ed25519", "kid": name, "x": base64(key.public_key())})
                }
            }
        }

        fn token(&self, name: &str, claims: &Value) -> String {
            let algorithm = if matches!(self, Self::Curve(..)) { "ES256" } else { "EdDSA" };
            let header = json!({"alg": algorithm, "kid": name});
            let text = format!("{}.{}", base64(header.to_string()), base64(claims.to_string()));
            let signature = match self {
                Self::Curve(key, random) => base64(key.sign(random, text.as_bytes()).unwrap()),
                Self::Edwards(key) => base64(key.sign(text.as_bytes())),
            };
            format!("{text}.{signature}")
        }
    }

    fn now() -> i64 {
        chrono::Utc::now().timestamp()
    }

    fn claims() -> Value {
        json!({"iss": "https://issuer", "aud": "pintle", "exp": now() + 60, "sub": "ann", "groups": ["dev", 7, "ops"]})
    }

    fn with(key: &str, value: Value) -> Value {
        let mut claims = claims();
        claims[key] = value;
        claims
    }

    fn tokens(file: &Path) -> Tokens {
        let settings = JwtSettings {
            issuer: "https://issuer".to_owned(),
            audience: "pintle".to_owned(),
            jwks: file.display().to_string(),
            jwks_ca: None,
            user_claim: "sub".to_owned(),
            groups_claim: "groups".to_owned(),
            required: true,
        };
        Tokens::open(settings).unwrap()
    }

    fn write(file: &Path, keys: &[Value]) {
        std::fs::write(file, json!({ "keys": keys }).to_string()).unwrap();
    }

    #[tokio::test]
    async fn a_token_says_whose_it_is_and_everything_else_is_nobodys() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("jwks.json");
        let (ann, other) = (Issuer::curve(), Issuer::curve());
        let edwards = Issuer::edwards();
        write(
            &file,
            &[ann.key("a"), edwards.key("e"), json!({"kty": "oct", "kid": "s", "k": base64("secret")})],
        );
        let tokens = tokens(&file);
        for issuer in [(&ann, "a"), (&edwards, "e")] {
            let bearer = tokens.verify(&issuer.0.token(issuer.1, &claims())).await.unwrap();
            assert_eq!(
                bearer,
                Bearer { user: "ann".to_owned(), groups: vec!["dev".to_owned(), "ops".to_owned()] }
            );
        }
        let spaced = tokens.verify(&ann.token("a", &with("groups", json!("dev ops")))).await.unwrap();
        assert_eq!(spaced.groups, ["dev", "ops"]);

        let none =
            format!("{}.{}.", base64(json!({"alg": "none"}).to_string()), base64(claims().to_string()));
        let shared = format!(
            "{}.{}.AA",
            base64(json!({"alg": "HS256", "kid": "s"}).to_string()),
            base64(claims().to_string())
        );
        for (what, token) in [
            ("another's key", other.token("a", &claims())),
            ("a key of another kind", ann.token("e", &claims())),
            ("an unknown key", other.token("x", &claims())),
            ("another issuer", ann.token("a", &with("iss", json!("https://else")))),
            ("another audience", ann.token("a", &with("aud", json!("docker")))),
            ("no audience", ann.token("a", &with("aud", Value::Null))),
            ("expired", ann.token("a", &with("exp", json!(now() - 60)))),
            ("for ever", ann.token("a", &with("exp", Value::Null))),
            ("a text for a time", ann.token("a", &with("exp", json!("9999999999")))),
            ("not yet", ann.token("a", &with("nbf", json!(now() + 300)))),
            ("a text for not yet", ann.token("a", &with("nbf", json!("0")))),
            ("nobody", ann.token("a", &with("sub", json!("")))),
            ("unsigned", none),
            ("a shared secret", shared),
            ("nonsense", "a.b.c".to_owned()),
            ("nothing", String::new()),
            ("endless", "a".repeat(LONGEST_TOKEN + 1)),
        ] {
            assert!(tokens.verify(&token).await.is_err(), "{what}");
        }
    }

    #[tokio::test]
    async fn keys_are_looked_for_again_but_not_for_everybody() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("jwks.json");
        let (first, second) = (Issuer::curve(), Issuer::curve());
        write(&file, &[first.key("1")]);
        let tokens = tokens(&file);
        write(&file, &[second.key("2")]);
        // Somebody just looked.
        tokens.verify(&second.token("2", &claims())).await.unwrap_err();
        tokens.keys.lock().unwrap().looked = Instant::now().checked_sub(PAUSE);
        tokens.verify(&second.token("2", &claims())).await.unwrap();
        let gone = tokens.verify(&first.token("1", &claims())).await.unwrap_err();
        assert!(gone.contains("none of the issuer's"), "{gone}");
        // What cannot be read leaves the keys that are known.
        std::fs::write(&file, "{").unwrap();
        tokens.keys.lock().unwrap().looked = Instant::now().checked_sub(PAUSE);
        tokens.verify(&first.token("1", &claims())).await.unwrap_err();
        tokens.verify(&second.token("2", &claims())).await.unwrap();
    }

    #[test]
    fn keys_that_are_none_are_refused_at_once() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("jwks.json");
        for text in ["", "{}", "{\"keys\": []}", "{\"keys\": [{\"kty\": \"RSA\"}]}"] {
            std::fs::write(&file, text).unwrap();
            assert!(read(&file).unwrap_err().contains("jwks.json: "), "{text}");
        }
    }
}
