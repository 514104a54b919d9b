//! What an Init asks for, checked: nothing of it is believed before.

use std::collections::HashMap;

use lakekeep_udf_client::{Code, Function, Kind};
use prost::bytes::Bytes;

use super::data;
use super::failure::Failure;
use super::proto::{Init, UdfPayload, UdfWorkerDataFormat};

/// The version of the protocol that is spoken.
const VERSION: u32 = 1;

/// Most characters of a function's name.
const NAME_LIMIT: usize = 1024;

/// Most characters of one word about the task, in the audit log.
const WORD_LIMIT: usize = 64;

/// What an engine may tell of its task; all else in there may be its configuration.
const TASK_WORDS: [&str; 3] = ["stageId", "partitionId", "taskAttemptId"];

/// A function for a sandbox of its own.
#[derive(Debug)]
pub struct Asked {
    /// What runs there.
    pub function: Function,
    /// The task that it runs for, as the engine numbers it.
    pub query: String,
}

/// An Init that can be met, whose payload may not be there yet.
#[derive(Debug)]
pub struct Pending {
    /// More of the payload comes in chunks.
    pub chunked: bool,
    format: Format,
    /// Without its code.
    function: Function,
    query: String,
    payload: Vec<u8>,
    size: Option<u64>,
    crc: Option<u32>,
    limit: u64,
}

#[derive(Debug, Clone, Copy)]
enum Format {
    Cloudpickle,
    Source,
}

impl Pending {
    /// Checks all of it but the payload.
    ///
    /// # Errors
    /// [`Failure::Protocol`], with the field and what to send instead.
    pub fn check(init: Init, limit: u64) -> Result<Self, Failure> {
        check_version(&init)?;
        check_data_format(&init)?;
        if init.parameters.as_ref().is_some_and(|it| !it.is_empty()) {
            return refuse("Init.parameters are not understood; leave them out");
        }
        let chunked = init.is_chunking_payload();
        let arguments = data::schema("Init.input_schema", init.input_schema.as_ref())?;
        let returns = data::schema("Init.output_schema", init.output_schema.as_ref())?;
        let Some(udf) = init.udf else {
            return refuse("Init.udf is missing; it has the function");
        };
        let function = Function {
            name: name(&udf)?,
            kind: kind(&udf)?,
            code: Code::Pickled(Vec::new()),
            arguments,
            returns,
        };
        function
            .check()
            .map_err(|error| Failure::Protocol(format!("Init: {error}")))?;
        let mut pending = Self {
            chunked,
            format: format(&udf)?,
            function,
            query: query(&init.task_context),
            payload: Vec::new(),
            size: declared_size(&udf, limit)?,
            crc: udf.payload_crc32,
            limit,
        };
        if !udf.payload.is_empty() {
            pending.append(&udf.payload)?;
        }
        Ok(pending)
    }

    /// More of the payload.
    ///
    /// # Errors
    /// [`Failure::Protocol`]: it is empty, or all are too many.
    pub fn append(&mut self, chunk: &Bytes) -> Result<(), Failure> {
        if chunk.is_empty() {
            return refuse("an empty PayloadChunk; each has bytes, the last too");
        }
        let size = self.payload.len().saturating_add(chunk.len()) as u64;
        let most = self.size.unwrap_or(self.limit);
        if size > most {
            let what = match self.size {
                Some(_) => "UdfPayload.payload_size",
                None => "the limit; raise --max-payload, or send less along",
            };
            return refuse(format!("a payload of over {most} bytes, which is {what}"));
        }
        self.payload.extend_from_slice(chunk);
        Ok(())
    }

    /// The function, with all of its payload.
    ///
    /// # Errors
    /// [`Failure::Protocol`]: the payload is not what was declared.
    pub fn finish(mut self) -> Result<Asked, Failure> {
        let found = self.payload.len() as u64;
        if let Some(size) = self.size.filter(|size| *size != found) {
            return refuse(format!(
                "a payload of {found} bytes, where UdfPayload.payload_size is {size}"
            ));
        }
        let crc = crc32fast::hash(&self.payload);
        if let Some(declared) = self.crc.filter(|declared| *declared != crc) {
            return refuse(format!(
                "a payload of CRC {crc:#010x}, where UdfPayload.payload_crc32 is {declared:#010x}; \
                 send it again"
            ));
        }
        if self.payload.is_empty() {
            return refuse("an empty payload; UdfPayload.payload or its chunks have the function");
        }
        self.function.code = self.format.code(self.payload, &self.function.name)?;
        Ok(Asked {
            function: self.function,
            query: self.query,
        })
    }
}

impl Format {
    fn code(self, payload: Vec<u8>, name: &str) -> Result<Code, Failure> {
        match self {
            Self::Cloudpickle => Ok(Code::Pickled(payload)),
            Self::Source => match String::from_utf8(payload) {
                Ok(text) => Ok(Code::Source {
                    text,
                    name: name.to_owned(),
                }),
                Err(_) => refuse("a payload of format python-source that is not UTF-8"),
            },
        }
    }
}

fn check_version(init: &Init) -> Result<(), Failure> {
    match init.protocol_version.unwrap_or(VERSION) {
        VERSION => Ok(()),
        other => refuse(format!(
            "Init.protocol_version {other} is not spoken here; {VERSION} is"
        )),
    }
}

fn check_data_format(init: &Init) -> Result<(), Failure> {
    match UdfWorkerDataFormat::try_from(init.data_format) {
        Ok(UdfWorkerDataFormat::Arrow) => Ok(()),
        _ => refuse(format!(
            "Init.data_format {} is not among this worker's; ARROW (1) is",
            init.data_format
        )),
    }
}

fn format(udf: &UdfPayload) -> Result<Format, Failure> {
    match udf.format.as_str() {
        "cloudpickle" => Ok(Format::Cloudpickle),
        "python-source" if udf.name().is_empty() => {
            refuse("UdfPayload.name is missing; with python-source it names the function")
        }
        "python-source" => Ok(Format::Source),
        "" => refuse("UdfPayload.format is missing; there are cloudpickle and python-source"),
        other => refuse(format!(
            "UdfPayload.format {:?} is not known here; there are cloudpickle and python-source",
            cut(other, WORD_LIMIT)
        )),
    }
}

fn kind(udf: &UdfPayload) -> Result<Kind, Failure> {
    let Some(word) = udf.eval_type.as_deref() else {
        return Ok(Kind::Scalar);
    };
    let found = Kind::ALL.into_iter().find(|kind| kind.word() == word);
    found.map_or_else(
        || {
            let known = Kind::ALL.map(Kind::word).join(", ");
            let word = cut(word, WORD_LIMIT);
            refuse(format!(
                "UdfPayload.eval_type {word:?} is not known here; there are {known}"
            ))
        },
        Ok,
    )
}

fn name(udf: &UdfPayload) -> Result<String, Failure> {
    match udf.name() {
        "" => Ok("udf".to_owned()),
        name if name.chars().count() <= NAME_LIMIT => Ok(name.to_owned()),
        _ => refuse(format!(
            "UdfPayload.name has over {NAME_LIMIT} characters; shorten it"
        )),
    }
}

fn declared_size(udf: &UdfPayload, limit: u64) -> Result<Option<u64>, Failure> {
    let Some(size) = udf.payload_size else {
        return Ok(None);
    };
    match u64::try_from(size) {
        Ok(size) if size <= limit => Ok(Some(size)),
        Ok(_) => refuse(format!(
            "UdfPayload.payload_size is {size} bytes; {limit} are allowed: raise --max-payload, \
             or send less along"
        )),
        Err(_) => refuse(format!("UdfPayload.payload_size is {size}, less than none")),
    }
}

/// The task, for the audit log.
fn query(task: &HashMap<String, String>) -> String {
    let words = TASK_WORDS.iter().filter_map(|word| {
        let value = task.get(*word)?;
        Some(format!("{word}={}", cut(value, WORD_LIMIT)))
    });
    words.collect::<Vec<_>>().join(" ")
}

fn cut(text: &str, most: usize) -> String {
    text.chars().take(most).collect()
}

fn refuse<T>(rule: impl Into<String>) -> Result<T, Failure> {
    Err(Failure::Protocol(rule.into()))
}

#[cfg(test)]
#[path = "asked_tests.rs"]
mod tests;

/// What engines send, for tests.
#[cfg(test)]
pub mod samples {
    use arrow_schema::{DataType, Field, Schema};

    use super::*;

    /// An Init that can be met, of a function of one number that answers one.
    pub fn init() -> Init {
        let number = Schema::new(vec![Field::new("x", DataType::Int64, true)]);
        let schema = Some(data::encoded(&number));
        Init {
            data_format: UdfWorkerDataFormat::Arrow.into(),
            udf: Some(UdfPayload {
                payload: "pickled".into(),
                format: "cloudpickle".to_owned(),
                ..UdfPayload::default()
            }),
            input_schema: schema.clone(),
            output_schema: schema,
            ..Init::default()
        }
    }
}
