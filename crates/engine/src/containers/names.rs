//! Names of containers: Docker's rule, and names for those who do not give one.

use rand::seq::IndexedRandom;

use crate::EngineError;

/// What Docker says a name may hold.
pub(super) const NAME_RULE: &str = "[a-zA-Z0-9][a-zA-Z0-9_.-]";

/// The name without Docker's leading slash, if it is one.
pub(super) fn parse(name: &str) -> Result<&str, EngineError> {
    let bare = name.strip_prefix('/').unwrap_or(name);
    let mut bytes = bare.bytes();
    let valid = bare.len() >= 2
        && bytes.next().is_some_and(|first| first.is_ascii_alphanumeric())
        && bytes.all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.' | b'-'));
    if valid {
        Ok(bare)
    } else {
        Err(EngineError::invalid(format!("Invalid container name ({name}), only {NAME_RULE} are allowed")))
    }
}

/// A new id: 64 hex digits, of which the first twelve are not all decimal digits (they become a host name, and
/// some programs take an all-digit one for a number).
pub(crate) fn new_id() -> String {
    loop {
        let id = hex::encode(rand::random::<[u8; 32]>());
        if id.bytes().take(12).any(|byte| !byte.is_ascii_digit()) {
            return id;
        }
    }
}

/// A name such as `brisk_turing`; with a number behind it on later tries.
pub(super) fn generate(try_number: u32) -> String {
    let mut rng = rand::rng();
    let adjective = ADJECTIVES.choose(&mut rng).unwrap_or(&"plain");
    let surname = SURNAMES.choose(&mut rng).unwrap_or(&"doe");
    if try_number == 0 {
        format!("{adjective}_{surname}")
    } else {
        format!("{adjective}_{surname}{}", rand::random_range(0..10u32.saturating_pow(try_number.min(8))))
    }
}

const ADJECTIVES: &[&str] = &[
    "able", "agile", "airy", "amber", "ample", "apt", "azure", "balmy", "bold", "brave", "breezy", "bright",
    "brisk", "calm", "candid", "cheery", "civil", "clear", "clever", "cosy", "crisp", "curious", "dapper",
    "daring", "deft", "eager", "early", "earnest", "easy", "even", "fair", "fleet", "fond", "frank", "free",
    "fresh", "gentle", "glad", "golden", "grand", "green", "handy", "happy", "hardy", "hearty", "honest",
    "humble", "ideal", "jolly", "just", "keen", "kind", "late", "lively", "loyal", "lucid", "lucky",
    "mellow", "merry", "mild", "modest", "neat", "nimble", "noble", "novel", "open", "patient", "placid",
    "plain", "polite", "prime", "proud", "quick", "quiet", "rapid", "ready", "rosy", "round", "sage",
    "serene", "sharp", "silent", "silver", "simple", "sincere", "sleek", "smart", "smooth", "snug", "sober",
    "solid", "spry", "steady", "stoic", "sturdy", "sunny", "swift", "tidy", "tranquil", "true", "upbeat",
    "valid", "vivid", "warm", "wise", "witty", "young", "zesty",
];

const SURNAMES: &[&str] = &[
    "abel",
    "ampere",
    "anning",
    "avogadro",
    "babbage",
    "bell",
    "bernoulli",
    "bohr",
    "boole",
    "brahe",
    "cantor",
    "carson",
    "cauchy",
    "cerf",
    "church",
    "clarke",
    "conway",
    "cori",
    "curie",
    "darwin",
    "dijkstra",
    "dirac",
    "doppler",
    "easley",
    "elion",
    "euclid",
    "euler",
    "faraday",
    "fermat",
    "fermi",
    "feynman",
    "fibonacci",
    "floyd",
    "fourier",
    "franklin",
    "galilei",
    "galois",
    "gauss",
    "germain",
    "goedel",
    "goodall",
    "haber",
    "hamilton",
    "hertz",
    "hilbert",
    "hoare",
    "hodgkin",
    "hooke",
    "hopper",
    "hubble",
    "huygens",
    "hypatia",
    "jemison",
    "johnson",
    "joule",
    "kahan",
    "kelvin",
    "kepler",
    "khayyam",
    "kirch",
    "knuth",
    "kovalevskaya",
    "lagrange",
    "lamarr",
    "lamport",
    "laplace",
    "leavitt",
    "leibniz",
    "linnaeus",
    "liskov",
    "lovelace",
    "maxwell",
    "mccarthy",
    "meitner",
    "mendel",
    "mendeleev",
    "milner",
    "mirzakhani",
    "moore",
    "nash",
    "newton",
    "nobel",
    "noether",
    "ohm",
    "pascal",
    "pasteur",
    "perlman",
    "planck",
    "poincare",
    "ramanujan",
    "riemann",
    "ritchie",
    "rubin",
    "sagan",
    "shannon",
    "sinoussi",
    "snow",
    "sutherland",
    "tesla",
    "thompson",
    "tu",
    "turing",
    "volta",
    "wilson",
    "wing",
    "wozniak",
    "yalow",
    "zhang",
];

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn dockers_rule() {
        for good in ["ab", "/ab", "a.b-c_d", "0a", "A1"] {
            assert_eq!(parse(good).unwrap(), good.trim_start_matches('/'));
        }
        for bad in ["", "a", "/", "//ab", "-ab", ".ab", "a b", "a/b", "ä1", "_x"] {
            let error = parse(bad).unwrap_err();
            assert_eq!(
                error.message,
                format!("Invalid container name ({bad}), only [a-zA-Z0-9][a-zA-Z0-9_.-] are allowed")
            );
        }
    }

    #[test]
    fn generated_names_obey_the_rule() {
        for number in 0..40 {
            let name = generate(number % 12);
            assert_eq!(parse(&name).unwrap(), name);
            assert!(name.contains('_'));
        }
    }

    #[test]
    fn ids_are_host_names() {
        let id = new_id();
        assert_eq!(id.len(), 64);
        assert!(id[..12].bytes().any(|byte| byte.is_ascii_lowercase()));
    }

    proptest! {
        #[test]
        fn what_is_accepted_is_safe_as_a_file_name(name in ".{0,12}") {
            if let Ok(bare) = parse(&name) {
                prop_assert!(!bare.contains('/') && bare != "." && bare != "..");
            }
        }
    }
}
