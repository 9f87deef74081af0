use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::ContainerConfig;

fn steps(text: &str) -> Vec<Instruction> {
    let file = parse(text).unwrap();
    file.stages.into_iter().flat_map(|stage| stage.steps).map(|step| step.instruction).collect()
}

fn error(text: &str) -> String {
    parse(text).unwrap_err().to_string()
}

#[test]
fn lines_continue_and_comments_vanish() {
    let file = parse(
        "# syntax=docker/dockerfile:1\n# escape=`\n\n  # words\nARG V=1\nFROM a:$V AS First\r\nrun echo a `\n  # inside\n\n  b\nRUN c:\\dir\n",
    )
    .unwrap();
    assert_eq!((file.escape, file.stages.len(), file.arguments.len()), ('`', 1, 1));
    let stage = &file.stages[0];
    assert_eq!((stage.base.as_str(), stage.name.as_deref()), ("a:$V", Some("first")));
    assert_eq!(stage.steps[0].instruction, Instruction::Run(Command::Shell("echo a   b".into())));
    assert_eq!(stage.steps[1].instruction, Instruction::Run(Command::Shell("c:\\dir".into())));
    assert!(file.warnings[0].contains("Empty continuation line"), "{:?}", file.warnings);
    assert_eq!((stage.steps[0].line, stage.steps[1].line), (7, 11));
    // Two escapes at the end of a line are none.
    let one = parse("FROM a\nRUN echo \\\\\nRUN b").unwrap();
    assert_eq!(one.stages[0].steps.len(), 2);
}

#[test]
fn every_instruction_is_read() {
    let read = steps(
        "FROM scratch\n\
         ENV A=b C=\"d e\"\nENV OLD the rest\nLABEL a=b\nMAINTAINER me you\nRUN [\"a\", \"b\"]\nCMD x y\n\
         ENTRYPOINT [\"e\"]\nSHELL [\"/bin/bash\", \"-c\"]\nCOPY --from=first --chown=u:g a b /c/\n\
         ADD [\"a b\", \"/c d\"]\nEXPOSE 80 81/udp\nVOLUME /a /b\nUSER u\nWORKDIR /w\nSTOPSIGNAL TERM\n\
         HEALTHCHECK --interval=1m30s --retries=2 CMD true\nONBUILD RUN x\nARG n\nARG m=1 o\n",
    );
    let pair = |a: &str, b: &str| (a.to_owned(), b.to_owned());
    assert_eq!(read[0], Instruction::Env(vec![pair("A", "b"), pair("C", "\"d e\"")]));
    assert_eq!(read[1], Instruction::Env(vec![pair("OLD", "the rest")]));
    assert_eq!(read[3], Instruction::Maintainer("me you".into()));
    assert_eq!(read[4], Instruction::Run(Command::Exec(vec!["a".into(), "b".into()])));
    let Instruction::Copy(copy) = &read[8] else { panic!("{read:?}") };
    assert_eq!((copy.from.as_deref(), copy.chown.as_deref()), (Some("first"), Some("u:g")));
    assert_eq!(
        (&copy.sources[..], copy.destination.as_str()),
        (&["a".to_owned(), "b".to_owned()][..], "/c/")
    );
    let Instruction::Add(add) = &read[9] else { panic!("{read:?}") };
    assert_eq!((add.sources[0].as_str(), add.destination.as_str()), ("a b", "/c d"));
    let Instruction::Healthcheck(check) = &read[15] else { panic!("{read:?}") };
    assert_eq!(check["Interval"], 90_000_000_000u64);
    assert_eq!(check["Test"], serde_json::json!(["CMD-SHELL", "true"]));
    assert_eq!(read[18], Instruction::Arg(vec![("m".into(), Some("1".into())), ("o".into(), None)]));
}

#[test]
fn mistakes_are_named_with_their_line() {
    for (text, said) in [
        ("", "file with no instructions"),
        ("# only words\n", "file with no instructions"),
        ("RUN x", "dockerfile parse error on line 1: no build stage in current context"),
        ("ARG a", "no build stage in current context"),
        ("FROM a\nFOO x", "dockerfile parse error on line 2: unknown instruction: FOO"),
        ("FROM a b", "FROM requires either one argument, or three: FROM <source> [AS <name>]"),
        ("FROM a AS 1b", "invalid name for build stage"),
        ("FROM a\nCOPY a", "COPY requires at least two arguments, but only one was provided"),
        ("FROM a\nENV a", "ENV must have two arguments"),
        ("FROM a\nENV a=b c", "can't find = in \"c\""),
        ("FROM a\nRUN --mount=type=bind x", "the --mount option requires BuildKit"),
        ("FROM a\nRUN <<EOF", "here-documents require BuildKit"),
        ("FROM a\nCOPY --frm=x a b", "unknown flag: --frm"),
        ("FROM a\nSHELL bash", "SHELL requires the arguments to be in JSON form"),
        ("FROM a\nCMD [1]", "arrays must be comprised of strings only"),
        ("FROM a\nONBUILD ONBUILD RUN x", "Chaining ONBUILD"),
        ("FROM a\nONBUILD FROM x", "FROM isn't allowed as an ONBUILD trigger"),
        ("FROM a\nHEALTHCHECK foo", "unknown type \"FOO\" in HEALTHCHECK (try CMD)"),
        ("FROM a\nHEALTHCHECK --interval=x CMD y", "invalid value x for --interval"),
        ("# escape=x\nFROM a", "invalid ESCAPE 'x'"),
    ] {
        let found = error(text);
        assert!(found.contains(said), "{text:?}: {found}");
    }
}

fn expand(text: &str) -> Result<String, String> {
    let env = BTreeMap::from([("A", "a b"), ("EMPTY", ""), ("P", "/x/y.tar.gz"), ("C", "c")]);
    let lookup = |name: &str| env.get(name).map(|value| (*value).to_owned());
    Expander { escape: '\\', lookup: &lookup }.word(text).map_err(|error| error.to_string())
}

#[test]
fn variables_are_put_in_as_mobys_shell_does() {
    for (text, wanted) in [
        ("$A", "a b"),
        ("${A}x", "a bx"),
        ("'$A'", "$A"),
        ("\"$A\"", "a b"),
        ("\\$A", "$A"),
        ("\"\\$A \\n\"", "$A \\n"),
        ("$NONE|", "|"),
        ("${NONE:-d}", "d"),
        ("${NONE:-${C}$A}", "ca b"),
        ("${EMPTY:-d}", "d"),
        ("${EMPTY-d}", ""),
        ("${A:+set}", "set"),
        ("${EMPTY:+set}", ""),
        ("${EMPTY+set}", "set"),
        ("${P##*/}", "y.tar.gz"),
        ("${P%.*}", "/x/y.tar"),
        ("${P%%.*}", "/x/y"),
        ("${P#/x}", "/y.tar.gz"),
        ("${P/y/z}", "/x/z.tar.gz"),
        ("${P//./-}", "/x/y-tar-gz"),
        ("$", "$"),
        ("a\\", "a"),
        ("it''s", "its"),
    ] {
        assert_eq!(expand(text).as_deref(), Ok(wanted), "{text}");
    }
    for (text, said) in [
        ("${", "missing '}'"),
        ("${A", "missing '}'"),
        ("${}", "bad substitution"),
        ("${NONE:?gone}", "NONE: gone"),
        ("${EMPTY:?}", "EMPTY: parameter null or not set"),
        ("${A:#x}", "unsupported modifier (:#)"),
        ("${A~x}", "unsupported modifier (~)"),
        ("'x", "single-quote"),
        ("\"x", "double-quote"),
    ] {
        let error = expand(text).unwrap_err();
        assert!(error.contains(said), "{text}: {error}");
    }
    let lookup = |_: &str| Some("80 81".to_owned());
    let expander = Expander { escape: '\\', lookup: &lookup };
    assert_eq!(expander.words("$A \"$A\" x").unwrap(), ["80", "81", "80 81", "x"]);
}

#[test]
fn a_configuration_changes_step_by_step() {
    let mut config = ContainerConfig { cmd: Some(vec!["base".into()]), ..ContainerConfig::default() };
    let mut cmd_set = false;
    let mut told = Vec::new();
    for step in steps(
        "FROM x\nENV A=1 B=2\nENV A=3\nENTRYPOINT run\nWORKDIR /a\nWORKDIR b/../c\nEXPOSE 443 80/udp\nSHELL [\"s\"]\nCMD line",
    ) {
        let env = config.env.clone();
        let lookup = |name: &str| {
            env.iter()
                .find_map(|entry| entry.split_once('=').filter(|(key, _)| *key == name))
                .map(|pair| pair.1.to_owned())
        };
        let expander = Expander { escape: '\\', lookup: &lookup };
        told.push(apply(&mut config, &step, &expander, &mut cmd_set).unwrap());
    }
    assert_eq!(config.env, ["A=3", "B=2"]);
    assert_eq!(config.working_dir, "/a/c");
    assert_eq!(config.entrypoint.unwrap(), ["/bin/sh", "-c", "run"]);
    assert_eq!(config.cmd.unwrap(), ["s", "line"]);
    assert_eq!(told[0], "ENV A=1 B=2");
    assert_eq!(told[2], r#"ENTRYPOINT ["/bin/sh" "-c" "run"]"#);
    assert_eq!(told[5], "EXPOSE 443 80/udp");
}

#[test]
fn patterns_are_gos() {
    for (pattern, text, wanted) in [
        ("*.txt", "a.txt", true),
        ("*.txt", "d/a.txt", false),
        ("d/*", "d/a", true),
        ("d?", "d/", false),
        ("[a-c]x", "bx", true),
        ("[^a-c]x", "bx", false),
        ("[]a]", "a", false),
        ("[a", "a", false),
        ("a\\*", "a*", true),
        ("a*b*c", "aXbYc", true),
        ("**", "ab", true),
        ("", "", true),
    ] {
        assert_eq!(matches(pattern, text), wanted, "{pattern} {text}");
    }
    assert!(has_wildcards("a*") && !has_wildcards("a\\*") && !has_wildcards("a"));
    let ignore = Ignore::parse("# no\n*.md\n!README.md\n**/tmp\nDocker*\n/a/b/\n");
    for (path, hidden) in [
        ("x.md", true),
        ("README.md", false),
        ("d/x.md", false),
        ("d/e/tmp/f", true),
        ("tmp", true),
        ("Dockerfile", true),
        ("a/b/c", true),
        ("a/c", false),
    ] {
        assert_eq!(ignore.hides(path), hidden, "{path}");
    }
}

proptest! {
    #[test]
    fn hostile_files_never_panic(text in "(?s)(FROM .{0,10}\n)?((ENV|ARG|RUN|COPY|HEALTHCHECK|LABEL|EXPOSE|ONBUILD|SHELL) .{0,40}\n){0,4}") {
        let _ = parse(&text);
    }

    #[test]
    fn hostile_words_never_panic(text in "[${}:+?#%/'\"\\\\ab*@\\-é ]{0,40}") {
        if let Ok(word) = expand(&text) {
            prop_assert!(word.len() < 1 << 20);
        }
    }

    #[test]
    fn hostile_patterns_never_panic_and_end(pattern in "[*?\\[\\]^\\\\a-c/\\-]{0,40}", text in "[a-c/]{0,40}") {
        let _ = matches(&pattern, &text);
        let _ = Ignore::parse(&pattern).hides(&text);
    }

    #[test]
    fn what_is_quoted_comes_back(value in "[ -~]{0,30}") {
        let quoted = value.replace('\\', "\\\\").replace('"', "\\\"").replace('$', "\\$");
        let file = parse(&format!("FROM x\nENV A=\"{quoted}\"")).unwrap();
        let Instruction::Env(pairs) = &file.stages[0].steps[0].instruction else { panic!("{file:?}") };
        prop_assert_eq!(expand(&pairs[0].1).unwrap(), value);
    }
}
