//! What has no field in Docker's API and is asked for by annotation: huge pages and Intel RDT. Every annotation is handed
//! on to the runtime, as Docker does.
//!
//! | annotation | is |
//! |---|---|
//! | `io.pintle.hugepages.<size>` | the most bytes of huge pages of that size: `io.pintle.hugepages.2MB=64m` |
//! | `io.pintle.rdt.clos-id` | the class of service in resctrl |
//! | `io.pintle.rdt.l3-cache-schema` | such as `L3:0=f;1=f0` |
//! | `io.pintle.rdt.mem-bw-schema` | such as `MB:0=70;1=20` |

use std::{collections::BTreeMap, path::Path};

use pintle_runtime::oci_spec::runtime::{LinuxHugepageLimit, LinuxIntelRdt, LinuxIntelRdtBuilder};

use crate::EngineError;

const HUGEPAGES: &str = "io.pintle.hugepages.";
const RDT: &str = "io.pintle.rdt.";
const RESCTRL: &str = "/sys/fs/resctrl";

/// Refuses what is malformed.
pub(super) fn check(annotations: &BTreeMap<String, String>) -> Result<(), EngineError> {
    hugepages(annotations)?;
    fields(annotations).map(drop)
}

/// Limits of huge pages.
pub(super) fn hugepages(
    annotations: &BTreeMap<String, String>,
) -> Result<Option<Vec<LinuxHugepageLimit>>, EngineError> {
    let mut all = Vec::new();
    for (key, value) in annotations {
        let Some(size) = key.strip_prefix(HUGEPAGES) else { continue };
        let digits = size.trim_end_matches(|c: char| c.is_ascii_alphabetic());
        let unit = &size[digits.len()..];
        if digits.is_empty()
            || !digits.bytes().all(|b| b.is_ascii_digit())
            || !["KB", "MB", "GB"].contains(&unit)
        {
            return Err(EngineError::invalid(format!(
                "invalid annotation {key}: no size of pages such as 2MB or 1GB"
            )));
        }
        let limit = bytes(value).ok_or_else(|| {
            EngineError::invalid(format!("invalid annotation {key}={value}: no number of bytes"))
        })?;
        let mut entry = LinuxHugepageLimit::default();
        entry.set_page_size(size.to_owned()).set_limit(limit);
        all.push(entry);
    }
    Ok((!all.is_empty()).then_some(all))
}

/// The class of service, if one is asked for.
pub(super) fn rdt(annotations: &BTreeMap<String, String>) -> Result<Option<LinuxIntelRdt>, EngineError> {
    let Some(fields) = fields(annotations)? else { return Ok(None) };
    if !Path::new(RESCTRL).join("schemata").exists() {
        return Err(EngineError::invalid(format!(
            "HostConfig.Annotations: Intel RDT is asked for, and this machine has no {RESCTRL}"
        )));
    }
    let mut builder = LinuxIntelRdtBuilder::default();
    for (field, value) in fields {
        builder = match field {
            "clos-id" => builder.clos_id(value),
            "l3-cache-schema" => builder.l3_cache_schema(value),
            _ => builder.mem_bw_schema(value),
        };
    }
    builder.build().map(Some).map_err(|error| EngineError::internal(error.to_string()))
}

fn fields(annotations: &BTreeMap<String, String>) -> Result<Option<Vec<(&str, &str)>>, EngineError> {
    let mut all = Vec::new();
    for (key, value) in annotations {
        let Some(field) = key.strip_prefix(RDT) else { continue };
        let fine = match field {
            // A directory below resctrl.
            "clos-id" => !value.is_empty() && !value.contains('/') && value != "." && value != "..",
            "l3-cache-schema" => value.starts_with("L3") && !value.contains('\n'),
            "mem-bw-schema" => value.starts_with("MB:") && !value.contains('\n'),
            _ => false,
        };
        if !fine {
            return Err(EngineError::invalid(format!("invalid annotation {key}={value}")));
        }
        all.push((field, value.as_str()));
    }
    Ok((!all.is_empty()).then_some(all))
}

/// `1048576`, `64m`, `1g`.
fn bytes(text: &str) -> Option<i64> {
    let text = text.trim().to_ascii_lowercase();
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let shift = match text[digits.len()..].trim_end_matches('b').trim_end_matches('i') {
        "" => 0,
        "k" => 10,
        "m" => 20,
        "g" => 30,
        _ => return None,
    };
    let number = digits.parse::<i64>().ok().filter(|number| *number >= 0)?;
    number.checked_mul(1 << shift)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn huge_pages() {
        let found = hugepages(&with(&[("io.pintle.hugepages.2MB", "64m"), ("other", "x")])).unwrap().unwrap();
        assert_eq!((found[0].page_size().as_str(), found[0].limit()), ("2MB", 64 << 20));
        assert!(hugepages(&with(&[])).unwrap().is_none());
        for (key, value) in [("2MB", "much"), ("big", "1m"), ("MB", "1m"), ("2MB", "-1"), ("../2MB", "1")] {
            hugepages(&with(&[(&format!("io.pintle.hugepages.{key}"), value)])).unwrap_err();
        }
    }

    #[test]
    fn classes_of_service() {
        check(&with(&[("io.pintle.rdt.l3-cache-schema", "L3:0=f"), ("io.pintle.rdt.clos-id", "gold")]))
            .unwrap();
        for (key, value) in [
            ("clos-id", "../x"),
            ("clos-id", ""),
            ("l3-cache-schema", "MB:0=1"),
            ("mem-bw-schema", "MB:0=1\nL3:0=1"),
            ("odd", "1"),
        ] {
            check(&with(&[(&format!("io.pintle.rdt.{key}"), value)])).unwrap_err();
        }
        // A machine without resctrl says so.
        if !Path::new(RESCTRL).join("schemata").exists() {
            let error = rdt(&with(&[("io.pintle.rdt.clos-id", "gold")])).unwrap_err();
            assert!(error.message.contains("has no /sys/fs/resctrl"), "{}", error.message);
        }
    }
}
