//! Texts as WeChat and others write them, and what is read of each.

use super::*;
use proptest::prelude::*;

fn shown(text: &[u8], name: &str) -> Option<String> {
    Object::find(text)?.get(name).map(|value| String::from_utf8_lossy(value).into_owned())
}

#[test]
fn members_are_found_at_the_top_level_alone() {
    for (body, right) in [
        (&br#"{"a":1}"#[..], Some("1")),
        (br#"  { "b" : [1, {"a": 2}], "a" : "x" } "#, Some("\"x\"")),
        (b"\xef\xbb\xbf{\"a\":1}", Some("1")),
        (b" \xef\xbb\xbf \n{\"a\":1}", Some("1")),
        (br#"{"\u0061":1}"#, Some("1")),
        (br#"{"a":1,"a":{"b":2}}"#, Some(r#"{"b":2}"#)),
        (br#"{"b":{"a":1}}"#, None),
        (br#"[{"a":1}]"#, None),
        (br#"{"b":"\"a\":1"}"#, None),
        (br#"{"b":"}","a":7}"#, Some("7")),
        (b"{\x02\"a\"\x00:\t7}", Some("7")),
        (b"{\"b\":\"\x01\xff\",\"a\":7}", Some("7")),
        (b"{\"a\":7\x00\x0f,\"b\":1}", Some("7")),
        (b"{\"a\":\x00}", Some("")),
        (br#"{"a":7,"b":"cut"#, Some("7")),
        (br#"{"a"#, None),
        (br#"{"a":"#, Some("")),
        (b"", None),
        (b"a", None),
    ] {
        assert_eq!(shown(body, "a").as_deref(), right, "{}", String::from_utf8_lossy(body));
    }
}

#[test]
fn a_beginning_is_decided_by_its_first_meaningful_byte() {
    for (text, right) in [
        (&b""[..], Beginning::Undecided),
        (b" \r\n\t\0", Beginning::Undecided),
        (b"\xef", Beginning::Undecided),
        (b" \xef\xbb", Beginning::Undecided),
        (b"\xef\xbb\xbf ", Beginning::Undecided),
        (b"\xef\xbb\xbf{", Beginning::Object),
        (b"\n{", Beginning::Object),
        (b"\xef\xbbx", Beginning::Other),
        (b"[", Beginning::Other),
        (b"hello", Beginning::Other),
    ] {
        assert_eq!(beginning(text), right, "{text:?}");
    }
}

#[test]
fn objects_that_are_cut_off_are_not_whole() {
    for (text, right) in
        [("{}", true), (r#"{"a":1} x"#, true), (r#"{"a":1"#, false), ("{", false), ("{a}", false)]
    {
        assert_eq!(Object::find(text.as_bytes()).unwrap().is_whole(), right, "{text}");
    }
}

#[test]
fn members_are_replaced_wherever_they_stand_or_put_in_front() {
    for (text, right) in [
        ("{}", Some(r#"{"a":"1","s":"2"}"#)),
        (" { } x", Some(r#" {"a":"1","s":"2" } x"#)),
        (r#"{"b":[1,{"a":2}]}"#, Some(r#"{"a":"1","s":"2","b":[1,{"a":2}]}"#)),
        (r#"{"s":"x"}"#, Some(r#"{"a":"1","s":"2"}"#)),
        (r#"{ "s" : {"n":[1]} , "b":1,"a":null }"#, Some(r#"{ "s" : "2" , "b":1,"a":"1" }"#)),
        (r#"{"a":"x","\u0061":7,"a":"z","s":""}"#, Some(r#"{"a":"1","\u0061":"1","a":"1","s":"2"}"#)),
        ("\u{FEFF}{\"a\":1,\"s\":2}", Some("\u{FEFF}{\"a\":\"1\",\"s\":\"2\"}")),
        (r#"{"a":"x""#, None),
        ("[]", None),
        ("a=x&s=y", None),
        ("", None),
    ] {
        let found = with_members(text.as_bytes(), &[("a", "\"1\""), ("s", "\"2\"")]);
        assert_eq!(found.map(|text| String::from_utf8(text).unwrap()).as_deref(), right, "{text}");
    }
}

#[test]
fn members_are_left_out_and_the_rest_stays_as_it_is() {
    for (text, right) in [
        ("{}", "{}"),
        (r#"{"a":1,"s":"x"}"#, "{}"),
        (
            r#" {"a":1, "b" : [1, {"a":2}] ,"\u0073":2,"\u00e9":"\/"} x"#,
            r#"{"b":[1, {"a":2}],"\u00e9":"\/"}"#,
        ),
        (r#"{"b":12345678901234567890,"a":"","c":null}"#, r#"{"b":12345678901234567890,"c":null}"#),
    ] {
        let left = Object::find(text.as_bytes()).unwrap().without(&["a", "s"]);
        assert_eq!(String::from_utf8(left).unwrap(), right, "{text}");
    }
}

#[test]
fn integers() {
    for (value, right) in [
        ("40001", Some(40001)),
        ("-1", Some(-1)),
        ("\"42001\"", Some(42001)),
        ("\" 7 \"", Some(7)),
        ("40001.0", Some(40001)),
        ("4.0001e4", Some(40001)),
        ("1.5", Some(1)),
        ("99999999999999999999", Some(i64::MAX)),
        ("\"-99999999999999999999\"", Some(i64::MIN)),
        ("\"4.0e4\"", None),
        ("\"abc\"", None),
        ("\"\"", None),
        ("null", None),
        ("true", None),
        ("nan", None),
        ("inf", None),
        ("{}", None),
        ("", None),
    ] {
        assert_eq!(integer(value.as_bytes()), right, "{value}");
    }
}

#[test]
fn texts() {
    for (value, right) in [
        (&b"\"a\""[..], Some("a")),
        (b"\"a\\/b\\u0001\\\"\"", Some("a/b\u{1}\"")),
        (b"\"a\nb\xff\"", Some("a\nb\u{fffd}")),
        (b"\"a\x01\x1fb\\/\"", Some("a  b/")),
        (b"\"\\q\"", Some("\\q")),
        (b"\"\"", Some("")),
        (b"7", None),
        (b"\"", None),
    ] {
        assert_eq!(text(value).as_deref(), right, "{value:?}");
    }
}

proptest! {
    #[test]
    fn members_are_put_into_any_text_without_a_panic(text in proptest::collection::vec(any::<u8>(), 0..200)) {
        let _ = with_members(&text, &[("a", "1")]);
    }

    #[test]
    fn a_strict_parser_finds_the_members_and_all_others(
        names in proptest::collection::vec("[a-d\"\\\\é]{0,2}", 0..6), inner in "[a-c{}:,\"\\\\ ]{0,9}",
    ) {
        let mut object = serde_json::Map::new();
        for (n, name) in names.iter().enumerate() {
            object.insert(name.clone(), serde_json::json!([n, {"a": inner, "s": inner}]));
        }
        let text = serde_json::to_string(&object).unwrap();
        let found = with_members(text.as_bytes(), &[("a", "\"1\""), ("s", "\"2\"")]).unwrap();
        object.insert("a".to_owned(), "1".into());
        object.insert("s".to_owned(), "2".into());
        let found: serde_json::Map<String, serde_json::Value> = serde_json::from_slice(&found).unwrap();
        prop_assert_eq!(found, object);
    }
}
