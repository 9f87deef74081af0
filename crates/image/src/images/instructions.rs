//! The Dockerfile instructions that `import --change` and `commit --change` take.

use crate::{ContainerConfig, ImageError, config::Empty};

/// Applies instructions such as `CMD ["/bin/sh"]` or `ENV A=b`, in order. All or nothing.
pub fn apply_instructions(config: &mut ContainerConfig, instructions: &[String]) -> Result<(), ImageError> {
    let mut changed = config.clone();
    for instruction in instructions {
        for line in
            instruction.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'))
        {
            apply(&mut changed, line)?;
        }
    }
    *config = changed;
    Ok(())
}

fn apply(config: &mut ContainerConfig, line: &str) -> Result<(), ImageError> {
    let (name, rest) = line.split_once(char::is_whitespace).unwrap_or((line, ""));
    let (name, rest) = (name.to_ascii_uppercase(), rest.trim());
    let needs = |what: &str| ImageError::invalid(format!("{name} requires {what}"));
    if rest.is_empty() {
        return Err(needs("at least one argument"));
    }
    match name.as_str() {
        "CMD" => config.cmd = Some(command(rest)),
        "ENTRYPOINT" => {
            config.entrypoint = Some(command(rest));
            config.cmd = None;
        }
        "ENV" => {
            for (key, value) in pairs(rest).ok_or_else(|| needs("NAME=value"))? {
                let prefix = format!("{key}=");
                config.env.retain(|entry| !entry.starts_with(&prefix));
                config.env.push(format!("{prefix}{value}"));
            }
        }
        "LABEL" => config.labels.extend(pairs(rest).ok_or_else(|| needs("NAME=value"))?),
        "EXPOSE" => {
            for word in words(rest).ok_or_else(|| needs("ports"))? {
                for port in ports(&word)
                    .ok_or_else(|| ImageError::invalid(format!("invalid containerPort: {word}")))?
                {
                    config.exposed_ports.insert(port, Empty {});
                }
            }
        }
        "VOLUME" => {
            let paths = json_words(rest).or_else(|| words(rest)).ok_or_else(|| needs("paths"))?;
            if paths.iter().any(|path| path.trim().is_empty()) {
                return Err(ImageError::invalid("VOLUME specified can not be an empty string"));
            }
            config.volumes.extend(paths.into_iter().map(|path| (path, Empty {})));
        }
        "USER" => config.user = one(rest).ok_or_else(|| needs("exactly one argument"))?,
        "STOPSIGNAL" => config.stop_signal = one(rest).ok_or_else(|| needs("exactly one argument"))?,
        "WORKDIR" => {
            let path = one(rest).ok_or_else(|| needs("exactly one argument"))?;
            let path = if path.starts_with('/') { path } else { format!("{}/{path}", config.working_dir) };
            let cleaned = crate::archive::Parts::clean(path.as_bytes()).unwrap_or_default();
            config.working_dir = format!("/{}", String::from_utf8_lossy(&cleaned.0));
        }
        "ONBUILD" => config.on_build.push(rest.to_owned()),
        "HEALTHCHECK" => config.healthcheck = Some(healthcheck(rest)?),
        _ => {
            let name = name.to_ascii_lowercase();
            return Err(ImageError::invalid(format!("{name:.50} is not a valid change command")));
        }
    }
    Ok(())
}

fn command(rest: &str) -> Vec<String> {
    json_words(rest).unwrap_or_else(|| vec!["/bin/sh".to_owned(), "-c".to_owned(), rest.to_owned()])
}

fn json_words(rest: &str) -> Option<Vec<String>> {
    rest.starts_with('[').then(|| serde_json::from_str(rest).ok()).flatten()
}

fn one(rest: &str) -> Option<String> {
    let mut words = words(rest)?;
    let word = words.pop()?;
    words.is_empty().then_some(word)
}

/// `A=b C="d e"`, or the old form `A everything else`.
fn pairs(rest: &str) -> Option<Vec<(String, String)>> {
    let words = words(rest)?;
    if let Some((name, value)) = words.first()?.split_once('=') {
        let first = (name.to_owned(), value.to_owned());
        let others = words
            .iter()
            .skip(1)
            .map(|word| word.split_once('=').map(|(name, value)| (name.to_owned(), value.to_owned())));
        let all: Option<Vec<_>> = std::iter::once(Some(first)).chain(others).collect();
        return all.filter(|all| all.iter().all(|(name, _)| !name.is_empty()));
    }
    let (name, value) = rest.split_once(char::is_whitespace)?;
    Some(vec![(name.to_owned(), value.trim().to_owned())])
}

/// Words as a shell takes them apart: quotes and backslashes. `None` if a quote is not closed.
fn words(rest: &str) -> Option<Vec<String>> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut quote = None;
    let mut chars = rest.chars();
    while let Some(next) = chars.next() {
        match (quote, next) {
            (Some(open), next) if next == open => quote = None,
            (Some('\''), next) => word.get_or_insert_default().push(next),
            (_, '\\') => word.get_or_insert_default().extend(chars.next()),
            (None, '"' | '\'') => {
                quote = Some(next);
                word.get_or_insert_default();
            }
            (None, next) if next.is_whitespace() => words.extend(word.take()),
            (_, next) => word.get_or_insert_default().push(next),
        }
    }
    words.extend(word);
    quote.is_none().then_some(words)
}

fn ports(word: &str) -> Option<Vec<String>> {
    let (range, protocol) = word.split_once('/').unwrap_or((word, "tcp"));
    let protocol = protocol.to_ascii_lowercase();
    if !matches!(protocol.as_str(), "tcp" | "udp" | "sctp") {
        return None;
    }
    let (first, last) = range.split_once('-').unwrap_or((range, range));
    let (first, last): (u16, u16) = (first.parse().ok()?, last.parse().ok()?);
    (first <= last).then(|| (first..=last).map(|port| format!("{port}/{protocol}")).collect())
}

fn healthcheck(rest: &str) -> Result<serde_json::Value, ImageError> {
    let bad = |what: &str| ImageError::invalid(format!("HEALTHCHECK: {what:.200}"));
    if rest.eq_ignore_ascii_case("none") {
        return Ok(serde_json::json!({ "Test": ["NONE"] }));
    }
    let mut check = serde_json::Map::new();
    let mut rest = rest;
    while let Some(option) = rest.strip_prefix("--") {
        let (option, tail) = option.split_once(char::is_whitespace).ok_or_else(|| bad("no command"))?;
        let (name, value) = option.split_once('=').ok_or_else(|| bad(option))?;
        let key = match name {
            "interval" => "Interval",
            "timeout" => "Timeout",
            "start-period" => "StartPeriod",
            "start-interval" => "StartInterval",
            "retries" => "Retries",
            _ => return Err(bad(&format!("unknown flag {name}"))),
        };
        let number = if key == "Retries" { value.parse().ok() } else { nanoseconds(value) };
        check.insert(
            key.to_owned(),
            number.ok_or_else(|| bad(&format!("invalid value {value} for {name}")))?.into(),
        );
        rest = tail.trim_start();
    }
    let (keyword, arguments) = rest.split_once(char::is_whitespace).ok_or_else(|| bad("no command"))?;
    if !keyword.eq_ignore_ascii_case("cmd") {
        return Err(bad(&format!("unknown type {keyword}")));
    }
    let arguments = arguments.trim();
    let test: Vec<String> = match json_words(arguments) {
        Some(words) => std::iter::once("CMD".to_owned()).chain(words).collect(),
        None => vec!["CMD-SHELL".to_owned(), arguments.to_owned()],
    };
    check.insert("Test".to_owned(), test.into());
    Ok(check.into())
}

/// Go's durations, in whole numbers: `1h30m`, `500ms`.
fn nanoseconds(text: &str) -> Option<u64> {
    let mut total = 0u64;
    let mut rest = text;
    while !rest.is_empty() {
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        let letters = rest[digits..].bytes().take_while(u8::is_ascii_lowercase).count();
        let number: u64 = rest[..digits].parse().ok()?;
        let unit = match &rest[digits..digits + letters] {
            "ns" => 1,
            "us" => 1_000,
            "ms" => 1_000_000,
            "s" => 1_000_000_000,
            "m" => 60_000_000_000,
            "h" => 3_600_000_000_000,
            _ => return None,
        };
        total = total.checked_add(number.checked_mul(unit)?)?;
        rest = &rest[digits + letters..];
    }
    (!text.is_empty()).then_some(total)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn applied(lines: &[&str]) -> Result<ContainerConfig, ImageError> {
        let mut config = ContainerConfig::default();
        let lines: Vec<String> = lines.iter().map(|line| (*line).to_owned()).collect();
        apply_instructions(&mut config, &lines).map(|()| config)
    }

    #[test]
    fn dockers_own_examples_work() {
        let config = applied(&[
            r#"CMD ["/bin/sh", "-c"]"#,
            "env DEBUG=true PATH=/bin",
            r#"ENV GREETING="a b" OTHER=c\ d"#,
            "ENV DEBUG false",
            "EXPOSE 80 443/tcp 8000-8001/udp",
            "WORKDIR /a",
            "WORKDIR b/../c",
            r#"VOLUME ["/data"]"#,
            "VOLUME /x /y",
            "LABEL k=v",
            "USER app:app",
            "STOPSIGNAL SIGINT",
            "HEALTHCHECK --interval=1m30s --retries=2 CMD true",
        ])
        .unwrap();
        assert_eq!(config.cmd.unwrap(), ["/bin/sh", "-c"]);
        assert_eq!(config.env, ["PATH=/bin", "GREETING=a b", "OTHER=c d", "DEBUG=false"]);
        assert_eq!(
            config.exposed_ports.into_keys().collect::<Vec<_>>(),
            ["443/tcp", "80/tcp", "8000/udp", "8001/udp"]
        );
        assert_eq!(config.working_dir, "/a/c");
        assert_eq!(config.volumes.into_keys().collect::<Vec<_>>(), ["/data", "/x", "/y"]);
        assert_eq!(config.healthcheck.unwrap()["Interval"], 90_000_000_000u64);
        assert_eq!(
            applied(&["ENTRYPOINT exec top"]).unwrap().entrypoint.unwrap(),
            ["/bin/sh", "-c", "exec top"]
        );
    }

    #[test]
    fn others_are_refused() {
        for line in [
            "RUN x",
            "CMD",
            "ENV",
            "ENV =x",
            "ENV A=\"",
            "EXPOSE x",
            "EXPOSE 9-1",
            "USER a b",
            "HEALTHCHECK x",
        ] {
            assert!(applied(&[line]).is_err(), "{line}");
        }
        assert_eq!(applied(&["FROM x"]).unwrap_err().to_string(), "from is not a valid change command");
    }

    proptest! {
        #[test]
        fn nothing_makes_it_panic(line in "(ENV|EXPOSE|HEALTHCHECK|LABEL|VOLUME) .{0,60}") {
            let _ = applied(&[&line]);
        }
    }
}
