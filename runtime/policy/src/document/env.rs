//! The environment variables of a document.

use std::collections::BTreeMap;
use std::fmt;

use serde::de::{Error as _, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};

/// `[env]`: names and values. `Debug` shows the names only.
#[derive(Clone, Default, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct EnvDoc(pub BTreeMap<String, String>);

impl From<BTreeMap<String, String>> for EnvDoc {
    fn from(variables: BTreeMap<String, String>) -> EnvDoc {
        EnvDoc(variables)
    }
}

impl fmt::Debug for EnvDoc {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

impl<'de> Deserialize<'de> for EnvDoc {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<EnvDoc, D::Error> {
        deserializer.deserialize_map(EnvVisitor)
    }
}

struct EnvVisitor;

impl<'de> Visitor<'de> for EnvVisitor {
    type Value = EnvDoc;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a table of names and text values")
    }

    /// JSON allows a name twice; which of the two values counts would be a
    /// guess, so it is refused as TOML does.
    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<EnvDoc, A::Error> {
        let mut variables = BTreeMap::new();
        while let Some(name) = map.next_key::<String>()? {
            if variables.contains_key(&name) {
                return Err(A::Error::custom("given twice"));
            }
            let Text(value) = map.next_value()?;
            variables.insert(name, value);
        }
        Ok(EnvDoc(variables))
    }
}

/// A text; the error for anything else does not repeat the value, which serde's
/// own would.
struct Text(String);

impl<'de> Deserialize<'de> for Text {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Text, D::Error> {
        deserializer.deserialize_any(TextVisitor)
    }
}

struct TextVisitor;

fn not_a_text<E: serde::de::Error>() -> Result<Text, E> {
    Err(E::custom("not a text"))
}

impl<'de> Visitor<'de> for TextVisitor {
    type Value = Text;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a text")
    }

    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Text, E> {
        Ok(Text(text.to_owned()))
    }

    fn visit_bool<E: serde::de::Error>(self, _: bool) -> Result<Text, E> {
        not_a_text()
    }

    fn visit_i64<E: serde::de::Error>(self, _: i64) -> Result<Text, E> {
        not_a_text()
    }

    fn visit_u64<E: serde::de::Error>(self, _: u64) -> Result<Text, E> {
        not_a_text()
    }

    fn visit_i128<E: serde::de::Error>(self, _: i128) -> Result<Text, E> {
        not_a_text()
    }

    fn visit_u128<E: serde::de::Error>(self, _: u128) -> Result<Text, E> {
        not_a_text()
    }

    fn visit_f64<E: serde::de::Error>(self, _: f64) -> Result<Text, E> {
        not_a_text()
    }

    fn visit_unit<E: serde::de::Error>(self) -> Result<Text, E> {
        not_a_text()
    }

    fn visit_seq<A: SeqAccess<'de>>(self, _: A) -> Result<Text, A::Error> {
        not_a_text()
    }

    fn visit_map<A: MapAccess<'de>>(self, _: A) -> Result<Text, A::Error> {
        not_a_text()
    }
}
