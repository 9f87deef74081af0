use serde_json::{Value, json};

use super::{MissingKey, Template, TemplateError};

fn render(template: &str, data: &Value) -> String {
    Template::parse(template).unwrap().render(data, MissingKey::Error).unwrap()
}

fn document() -> Value {
    json!({
        "Name": "vol", "Size": 42, "Ratio": 0.5, "Enabled": true, "Nothing": null, "Empty": [],
        "Config": {"Env": ["A=1", "B=2"], "Labels": {"b": "2", "a": "1"}, "Id": "abc"},
        "Html": "<a&b>", "Keys": {"z": 1, "y": [1, {"x": null}]},
    })
}

/// Every row was run through Go 1.24's text/template over the same document decoded with UseNumber.
#[test]
fn renders_as_go_does() {
    let rows = [
        ("plain", "plain"),
        ("{{.Name}}: {{.Size}}", "vol: 42"),
        ("{{json .Html}}", "\"<a&b>\""),
        ("{{json .Keys}}", "{\"z\":1,\"y\":[1,{\"x\":null}]}"),
        ("{{.Keys}}", "map[y:[1 map[x:<nil>]] z:1]"),
        ("{{.Nothing}}", "<no value>"),
        ("{{range .Config.Env}}[{{.}}]{{end}}", "[A=1][B=2]"),
        ("{{range $i, $e := .Config.Env}}{{$i}}={{$e}};{{end}}", "0=A=1;1=B=2;"),
        ("{{range $k, $v := .Config.Labels}}{{$k}}{{$v}} {{end}}", "a1 b2 "),
        ("{{range .Empty}}x{{else}}none{{end}}", "none"),
        ("{{range .Config.Env}}{{if eq . \"B=2\"}}{{break}}{{end}}{{.}}{{end}}", "A=1"),
        ("{{range .Config.Env}}{{if eq . \"A=1\"}}{{continue}}{{end}}{{.}}{{end}}", "B=2"),
        ("{{if .Enabled}}on{{else}}off{{end}}", "on"),
        ("{{if .Nothing}}a{{else if .Size}}b{{else}}c{{end}}", "b"),
        ("{{with .Config}}{{.Id}}{{$.Name}}{{end}}", "abcvol"),
        ("{{with .Nothing}}x{{else}}y{{end}}", "y"),
        ("{{index .Config.Env 1}}", "B=2"),
        ("{{index .Config.Labels \"a\"}}", "1"),
        ("{{index .Config.Labels \"missing\"}}", ""),
        ("{{len .Config.Env}}", "2"),
        ("{{printf \"%s-%05d|%-5s|%5s|%q\" .Name .Size .Name .Name .Name}}", "vol-00042|vol  |  vol|\"vol\""),
        ("{{printf \"%.2f %v %t %%\" .Ratio .Size .Enabled}}", "0.50 42 true %"),
        ("{{join .Config.Env \", \"}}", "A=1, B=2"),
        ("{{(index .Config.Env 0) | lower | printf \"%s!\"}}", "a=1!"),
        ("{{upper .Name}}{{lower \"ABC\"}}{{title \"hello wOrld\"}}", "VOLabcHello WOrld"),
        ("{{split \"a,b\" \",\"}}", "[a b]"),
        ("{{truncate .Name 2}}", "vo"),
        ("{{pad .Name 1 2}}|", " vol  |"),
        ("{{println .Name .Size}}", "vol 42\n"),
        ("a {{- /* c */ -}} b", "ab"),
        ("a\n{{- .Name -}}\n b", "avolb"),
        ("{{$x := .Name}}{{$x}}{{$x = \"new\"}}{{$x}}", "volnew"),
        ("{{and .Enabled .Name}}{{or .Nothing \"d\"}}{{not .Enabled}}", "voldfalse"),
        ("{{if and .Enabled (gt .Size 40)}}big{{end}}", "big"),
        ("{{eq .Name \"a\" \"vol\"}}{{ne 1 2}}{{le 1 1}}", "truetruetrue"),
        ("{{`raw \\n`}}{{\"esc\\t\"}}", "raw \\nesc\t"),
        ("{{slice .Name 1 3}}", "ol"),
        ("{{print 1 2 \"a\" 3}}", "1 2a3"),
        ("{{(.Config).Id}}", "abc"),
        ("{{\"}}\"}}", "}}"),
        ("{{html .Html}}{{urlquery \"a b/c\"}}", "&lt;a&amp;b&gt;a+b%2Fc"),
    ];
    for (template, expected) in rows {
        assert_eq!(render(template, &document()), expected, "{template}");
    }
}

#[test]
fn keys_match_without_case_only_when_no_exact_key_exists() {
    assert_eq!(render("{{.Config.ID}}", &document()), "abc");
    assert_eq!(render("{{.ID}}", &json!({"id": 1, "ID": 2})), "2");
}

#[test]
fn a_missing_key_is_an_error_or_no_value() {
    let template = Template::parse("{{.Config.Nope}}").unwrap();
    let error = template.render(&document(), MissingKey::Error).unwrap_err().to_string();
    assert_eq!(error, "template: :1: executing \"\" at <.Config.Nope>: map has no entry for key \"Nope\"");
    assert_eq!(template.render(&document(), MissingKey::NoValue).unwrap(), "<no value>");
}

#[test]
fn mistakes_name_their_line() {
    for (template, line, part) in [
        ("{{", 1, "unclosed action"),
        ("\n{{.A", 2, "unclosed action"),
        ("{{if .A}}", 1, "unexpected EOF"),
        ("{{end}}", 1, "unexpected {{end}}"),
        ("{{nosuch .A}}", 1, "function \"nosuch\" not defined"),
        ("{{(.A}}", 1, "unclosed left paren"),
        ("{{.A)}}", 1, "unexpected right paren"),
        ("{{\"abc}}", 1, "unclosed action"),
        ("{{break}}", 1, "outside"),
        ("{{| json}}", 1, "missing value"),
        ("{{}}", 1, "missing value"),
    ] {
        match Template::parse(template) {
            Err(TemplateError::Parse { line: at, reason }) => {
                assert_eq!(at, line, "{template}");
                assert!(reason.contains(part), "{template}: {reason}");
            }
            other => unreachable!("{template}: {other:?}"),
        }
    }
}

#[test]
fn nesting_is_bounded() {
    let deep = "{{if .A}}".repeat(10_000) + &"{{end}}".repeat(10_000);
    assert!(Template::parse(&deep).is_err());
    let parens = format!("{{{{{}1{}}}}}", "(".repeat(10_000), ")".repeat(10_000));
    assert!(Template::parse(&parens).is_err());
}

mod properties {
    use proptest::prelude::*;

    use super::super::{MissingKey, Template};

    proptest! {
        /// No text makes the parser or the machine panic, and text without delimiters is itself.
        #[test]
        fn any_text_is_handled(text in "[{}.$()|\"`a-z :=,\\-\n]{0,60}") {
            if let Ok(template) = Template::parse(&text) {
                let _ = template.render(&super::document(), MissingKey::NoValue);
            }
        }

        #[test]
        fn plain_text_is_kept(text in "[^{]{0,80}") {
            let rendered = Template::parse(&text).map(|t| t.render(&super::document(), MissingKey::Error));
            prop_assert_eq!(rendered, Ok(Ok(text)));
        }
    }
}
