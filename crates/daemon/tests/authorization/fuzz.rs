//! What the plugin saw beside what the handler did, for bodies that chance twisted.

use std::{fmt, sync::Arc};

use rand::{RngExt as _, SeedableRng as _, rngs::StdRng};
use serde::de::{Deserialize, Deserializer, IgnoredAny, MapAccess, Visitor};
use serde_json::Value;

use crate::{
    House,
    client::{call, send},
};

const ROUNDS: usize = 1500;

/// Every member of an object, in its order, however often its name comes.
struct Members(Vec<(String, Value)>);

impl<'de> Deserialize<'de> for Members {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct All;
        impl<'de> Visitor<'de> for All {
            type Value = Members;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Members, A::Error> {
                let mut all = Vec::new();
                while let Some(member) = map.next_entry()? {
                    all.push(member);
                }
                Ok(Members(all))
            }
        }
        deserializer.deserialize_map(All)
    }
}

/// Every reading of a member that some reader somewhere takes: in any case, the first or the last.
fn readings(members: &Members, name: &str) -> Vec<Value> {
    let same = members.0.iter().filter(|(key, _)| key.to_lowercase() == name.to_lowercase());
    same.map(|(_, value)| value.clone()).collect()
}

/// One twist of a body.
fn twist(body: &mut Vec<u8>, random: &mut StdRng) {
    let text = String::from_utf8_lossy(body).into_owned();
    let keys = ["Name", "Labels", "Driver", "DriverOpts", "a"];
    let key = keys[random.random_range(0..keys.len())];
    let quoted = format!("\"{key}\"");
    let twisted = match random.random_range(0..13) {
        0 => text.replacen(&quoted, &format!("\"{}\"", key.to_lowercase()), 1),
        1 => text.replacen(&quoted, &format!("\"{}\"", key.to_uppercase()), 1),
        2 => text.replacen('{', &format!("{{{quoted}:\"evil\","), 1),
        3 => text.replacen('}', &format!(",{quoted}:\"evil\"}}"), 1),
        4 => {
            let first = key.chars().next().unwrap_or('x');
            text.replacen(&quoted, &format!("\"\\u{:04x}{}\"", u32::from(first), &key[1..]), 1)
        }
        5 => text.replacen(':', " \r\n\t: ", 1),
        6 => text.replacen('{', "{\"Unknown\":[{\"Name\":\"evil\"}],", 1),
        7 => format!("{text}{}", ["{}", " ", "\0", "{\"Name\":\"evil\"}", ","][random.random_range(0..5)]),
        8 => format!("{}{text}", ["\u{feff}", " ", "\n", "[", "\"\""][random.random_range(0..5)]),
        9 => text.replacen(
            "\"x\"",
            ["null", "1", "[\"x\"]", "{}", "\"\\ud800\""][random.random_range(0..5)],
            1,
        ),
        10 => text.replacen(
            &quoted,
            &format!("\"{}\"", key.replace('s', "\u{17f}").replace('k', "\u{212a}")),
            1,
        ),
        11 => {
            let at = random.random_range(0..body.len());
            body[at] ^= 1 << random.random_range(0..8);
            return;
        }
        _ => {
            body.truncate(random.random_range(1..=body.len()));
            return;
        }
    };
    *body = twisted.into_bytes();
}

pub async fn what_was_seen_is_what_was_done(house: Arc<House>) {
    let seed: u64 = rand::random();
    println!("seed {seed}");
    let mut random = StdRng::seed_from_u64(seed);
    let (mut done, mut refused) = (0, 0);
    for round in 0..ROUNDS {
        let body = format!("{{\"Name\":\"fuzz-{round}\",\"Labels\":{{\"a\":\"x\"}},\"Driver\":\"local\"}}");
        let mut body = body.into_bytes();
        for _ in 0..random.random_range(0..4) {
            twist(&mut body, &mut random);
        }
        let shown = String::from_utf8_lossy(&body).into_owned();
        house.judge.allow();
        let answer =
            send(&house, "POST", "/volumes/create", "Content-Type: application/json\r\n", &body).await;
        let asked = house.judge.requests();
        if answer.status != 201 {
            assert!((400..500).contains(&answer.status), "{seed}/{round}: {} for {shown}", answer.status);
            refused += 1;
            continue;
        }
        done += 1;
        assert_eq!(asked.len(), 1, "{seed}/{round}: {shown}");
        let seen = asked[0].body.shown();
        assert_eq!(seen, body, "{seed}/{round}: the very bytes");
        let mut made = answer.json();
        if let Some(labels) = made["Labels"].as_object_mut() {
            // The engine's own, for those without a name.
            labels.remove("com.docker.volume.anonymous");
        }
        if serde_json::from_slice::<IgnoredAny>(seen).is_ok() && !seen.is_empty() {
            let members: Members = serde_json::from_slice(seen).unwrap_or(Members(Vec::new()));
            for (field, was) in [("Name", &made["Name"]), ("Labels", &made["Labels"])] {
                let read = readings(&members, field);
                assert!(read.len() <= 1, "{seed}/{round}: {field} reads in {} ways: {shown}", read.len());
                match read.first() {
                    Some(value) if !value.is_null() && *value != "" => {
                        // To Docker null is the empty text.
                        let value: Value =
                            serde_json::from_str(&value.to_string().replace(":null", ":\"\"")).unwrap();
                        assert_eq!(value, *was, "{seed}/{round}: {field} of {shown}");
                    }
                    // A name or labels of the engine's own.
                    _ => assert!(!was.to_string().contains("evil"), "{seed}/{round}: {shown}"),
                }
            }
        } else {
            panic!("{seed}/{round}: carried out, and no JSON for others: {shown}");
        }
        let name = made["Name"].as_str().unwrap_or_default().to_owned();
        call(&house, "DELETE", &format!("/volumes/{name}"), None).await;
    }
    println!("{done} were carried out, {refused} refused");
    assert!(done > ROUNDS / 10 && refused > ROUNDS / 10, "{done} and {refused}");
}
