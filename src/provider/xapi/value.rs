//! How XAPI's values look in JSON, in all the ways its versions write them.

use std::{borrow::Cow, cmp::Ordering, fmt, hash, marker::PhantomData, sync::Arc};

use jiff::{SignedDuration, Timestamp, civil::DateTime, tz::TimeZone};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use uuid::{Uuid, fmt::Hyphenated};

/// A reference to an object of class `T`. Opaque, and valid only as long as the object: keep uuids, not references.
pub(super) struct Ref<T> {
    text: Text,
    class: PhantomData<fn() -> T>,
}

/// What a reference looks like. There are dozens of them for each VM, nearly all with a uuid: that takes no memory of its own.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Text {
    Null,
    Uuid(Uuid),
    /// As simulators and old databases write them.
    Other(Arc<str>),
}

const PREFIX: &str = "OpaqueRef:";
const NULL: &str = "OpaqueRef:NULL";

impl Text {
    fn new(text: &str) -> Self {
        if text == NULL {
            return Self::Null;
        }
        let uuid = text.strip_prefix(PREFIX).and_then(|uuid| Uuid::try_parse(uuid).ok()).map(Self::Uuid);
        // A uuid has other spellings, which must come back as they were.
        uuid.filter(|read| *read == *text).unwrap_or_else(|| Self::Other(text.into()))
    }
}

impl PartialEq<str> for Text {
    fn eq(&self, text: &str) -> bool {
        match self {
            Self::Null => text == NULL,
            Self::Uuid(uuid) => {
                let mut written = [0; Hyphenated::LENGTH];
                text.strip_prefix(PREFIX) == Some(uuid.hyphenated().encode_lower(&mut written))
            }
            Self::Other(other) => **other == *text,
        }
    }
}

impl<T> Ref<T> {
    pub(super) fn new(text: impl AsRef<str>) -> Self {
        Self { text: Text::new(text.as_ref()), class: PhantomData }
    }

    pub(super) fn null() -> Self {
        Self { text: Text::Null, class: PhantomData }
    }

    /// The same object, read into another record.
    pub(super) fn cast<U>(&self) -> Ref<U> {
        Ref { text: self.text.clone(), class: PhantomData }
    }

    /// Whether it is written so.
    pub(super) fn is(&self, text: &str) -> bool {
        self.text == *text
    }

    /// Whether it points to nothing. Old databases also hold empty and `Ref:`-style leftovers.
    pub(super) fn is_null(&self) -> bool {
        match &self.text {
            Text::Null => true,
            Text::Uuid(_) => false,
            Text::Other(text) => text.is_empty() || text.starts_with("Ref:"),
        }
    }
}

impl<T> Default for Ref<T> {
    fn default() -> Self {
        Self::null()
    }
}

impl<T> Clone for Ref<T> {
    fn clone(&self) -> Self {
        Self { text: self.text.clone(), class: PhantomData }
    }
}

impl<T> PartialEq for Ref<T> {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

impl<T> Eq for Ref<T> {}

impl<T> PartialOrd for Ref<T> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl<T> Ord for Ref<T> {
    fn cmp(&self, other: &Self) -> Ordering {
        self.text.cmp(&other.text)
    }
}

impl<T> hash::Hash for Ref<T> {
    fn hash<H: hash::Hasher>(&self, state: &mut H) {
        self.text.hash(state);
    }
}

impl<T> fmt::Debug for Ref<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl<T> fmt::Display for Ref<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.text {
            Text::Null => f.write_str(NULL),
            Text::Uuid(uuid) => write!(f, "{PREFIX}{}", uuid.hyphenated()),
            Text::Other(text) => f.write_str(text),
        }
    }
}

impl<T> Serialize for Ref<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de, T> Deserialize<'de> for Ref<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Cow::<str>::deserialize(deserializer).map(Self::new)
    }
}

/// A 64-bit integer: a number from new xapi, a string of digits from old. Reads into [`i64`].
pub(super) fn int<'de, D: Deserializer<'de>>(deserializer: D) -> Result<i64, D::Error> {
    deserializer.deserialize_any(IntVisitor)
}

/// An integer that cannot be meaningfully negative: below zero counts as zero (xapi writes -1 for "none").
pub(super) fn natural<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u64, D::Error> {
    int(deserializer).map(|n| u64::try_from(n).unwrap_or(0))
}

struct IntVisitor;

impl de::Visitor<'_> for IntVisitor {
    type Value = i64;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an integer as a number or as a string of digits")
    }

    fn visit_i64<E: de::Error>(self, n: i64) -> Result<i64, E> {
        Ok(n)
    }

    fn visit_u64<E: de::Error>(self, n: u64) -> Result<i64, E> {
        i64::try_from(n).map_err(|_| E::invalid_value(de::Unexpected::Unsigned(n), &self))
    }

    fn visit_f64<E: de::Error>(self, x: f64) -> Result<i64, E> {
        // Up to 2^53 a float holds every integer exactly; a larger or fractional one was never an integer.
        #[allow(clippy::cast_possible_truncation)]
        if x.fract() == 0.0 && x.abs() <= 9_007_199_254_740_992.0 {
            Ok(x as i64)
        } else {
            Err(E::invalid_value(de::Unexpected::Float(x), &self))
        }
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<i64, E> {
        text.trim().parse().map_err(|_| E::invalid_value(de::Unexpected::Str(text), &self))
    }
}

/// A float: a number, `null` (what is left of a bare `NaN`), or a string such as `+Infinity`. What is not finite reads as
/// the default, zero.
pub(super) fn float<'de, D: Deserializer<'de>>(deserializer: D) -> Result<f64, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Raw {
        Number(f64),
        Text(String),
        Nothing(()),
    }
    let read = match Raw::deserialize(deserializer)? {
        Raw::Number(x) => x,
        Raw::Text(text) => text.trim().parse().map_err(de::Error::custom)?,
        Raw::Nothing(()) => 0.0,
    };
    Ok(if read.is_finite() { read } else { 0.0 })
}

/// A date in the ways that xapi writes it: `20260821T02:00:23Z`, with dashes, without the `Z`, or as seconds since 1970
/// with a dot. Without a zone it is taken for UTC; the beginning of 1970 means "never".
pub(super) fn time(text: &str) -> Option<Timestamp> {
    let text = text.trim().trim_end_matches('Z');
    let seconds = |text: &str| {
        text.trim_end_matches('.').parse::<f64>().ok().and_then(|s| SignedDuration::try_from_secs_f64(s).ok())
    };
    let read = match text.split_once('T') {
        Some(_) => text.parse::<DateTime>().ok()?.to_zoned(TimeZone::UTC).ok()?.timestamp(),
        None => Timestamp::from_duration(seconds(text)?).ok()?,
    };
    (read > Timestamp::UNIX_EPOCH).then_some(read)
}

/// The value inside the XML fragment that a task's result is, even over JSON: `<value>OpaqueRef:..</value>`, or nothing.
pub(super) fn task_result(xml: &str) -> &str {
    let mut rest = xml.trim();
    for tag in ["value", "string"] {
        let open = rest.strip_prefix('<').and_then(|r| r.strip_prefix(tag)).and_then(|r| r.strip_prefix('>'));
        let close = format!("</{tag}>");
        if let Some(inner) = open.and_then(|r| r.strip_suffix(close.as_str())) {
            rest = inner.trim();
        }
    }
    if rest.starts_with('<') { "" } else { rest }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, Deserialize, PartialEq)]
    struct Numbers {
        #[serde(deserialize_with = "int", default)]
        i: i64,
        #[serde(deserialize_with = "natural", default)]
        n: u64,
        #[serde(deserialize_with = "float", default)]
        f: f64,
    }

    #[test]
    fn integers_come_as_numbers_and_as_strings() {
        for (text, i) in [
            (r#"{"i": 2147483648}"#, 2_147_483_648),
            (r#"{"i": "2147483648"}"#, 2_147_483_648),
            (r#"{"i": "-1"}"#, -1),
            (r#"{"i": 3.0}"#, 3),
            ("{}", 0),
        ] {
            assert_eq!(serde_json::from_str::<Numbers>(text).unwrap().i, i, "{text}");
        }
        for bad in [r#"{"i": "x"}"#, r#"{"i": 1.5}"#, r#"{"i": true}"#, r#"{"i": 18446744073709551615}"#] {
            assert!(serde_json::from_str::<Numbers>(bad).is_err(), "{bad}");
        }
        assert_eq!(serde_json::from_str::<Numbers>(r#"{"n": -1}"#).unwrap().n, 0);
    }

    #[test]
    fn floats_come_in_odd_forms() {
        for (text, f) in [
            (r#"{"f": 0.25}"#, 0.25),
            (r#"{"f": 1}"#, 1.0),
            (r#"{"f": "0.5"}"#, 0.5),
            (r#"{"f": "+Infinity"}"#, 0.0),
            (r#"{"f": "-Infinity"}"#, 0.0),
            (r#"{"f": "NaN"}"#, 0.0),
            (r#"{"f": null}"#, 0.0),
        ] {
            let read = serde_json::from_str::<Numbers>(text).unwrap().f;
            assert!((read - f).abs() < f64::EPSILON, "{text}: {read}");
        }
    }

    #[test]
    fn null_references_have_three_spellings() {
        for null in ["OpaqueRef:NULL", "", "Ref:*", "Ref:2"] {
            assert!(Ref::<()>::new(null).is_null(), "{null}");
        }
        assert!(!Ref::<()>::new("OpaqueRef:fc6fcdd0-2f38-3f80-df79-027de436eaa9").is_null());
    }

    #[test]
    fn references_are_written_as_they_were_read() {
        for text in [
            "OpaqueRef:fc6fcdd0-2f38-3f80-df79-027de436eaa9",
            "OpaqueRef:FC6FCDD0-2f38-3f80-df79-027de436eaa9",
            "OpaqueRef:fc6fcdd02f383f80df79027de436eaa9",
            "OpaqueRef:{fc6fcdd0-2f38-3f80-df79-027de436eaa9}",
            "OpaqueRef:NULL",
            "OpaqueRef:t\\1",
            "fc6fcdd0-2f38-3f80-df79-027de436eaa9",
            "Ref:*",
            "",
        ] {
            let json = serde_json::to_string(text).unwrap();
            let read: Ref<()> = serde_json::from_str(&json).unwrap();
            assert_eq!((serde_json::to_string(&read).unwrap(), read.to_string()), (json, text.to_owned()));
            assert!(read.is(text) && read == Ref::new(text) && !read.is("OpaqueRef:other"), "{text}");
        }
        assert!(size_of::<Ref<()>>() <= 24);
    }

    #[test]
    fn task_results_are_unwrapped() {
        for (xml, inner) in [
            ("<value>OpaqueRef:1</value>", "OpaqueRef:1"),
            ("<value><string>OpaqueRef:1</string></value>", "OpaqueRef:1"),
            (" <value>OpaqueRef:1</value>\n", "OpaqueRef:1"),
            ("<value></value>", ""),
            ("<value/>", ""),
            ("", ""),
            ("<value><array><data/></array></value>", ""),
            ("OpaqueRef:1", "OpaqueRef:1"),
        ] {
            assert_eq!(task_result(xml), inner, "{xml}");
        }
    }

    #[test]
    fn dates_come_in_four_ways() {
        let expected: Timestamp = "2026-08-21T02:00:23Z".parse().unwrap();
        for text in ["20260821T02:00:23Z", "2026-08-21T02:00:23Z", "20260821T02:00:23", "1787277623.", " 1787277623 "] {
            assert_eq!(time(text), Some(expected), "{text}");
        }
        for text in ["19700101T00:00:00Z", "", "yesterday", "0", "2026-13-41T00:00:00Z", "NaN", "1e300"] {
            assert_eq!(time(text), None, "{text}");
        }
    }
}
