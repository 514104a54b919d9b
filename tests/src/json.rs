//! Parts of receipts that differ from run to run.

use serde_json::Value;

/// Removes the fields of these names, at every depth.
pub fn forget(value: &mut Value, names: &[&str]) {
    match value {
        Value::Object(map) => {
            map.retain(|name, _| !names.contains(&name.as_str()));
            map.values_mut().for_each(|value| forget(value, names));
        }
        Value::Array(list) => list.iter_mut().for_each(|value| forget(value, names)),
        _ => {}
    }
}
