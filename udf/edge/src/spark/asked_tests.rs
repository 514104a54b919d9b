use arrow_schema::DataType;

use super::samples::init;
use super::*;

fn met(init: Init) -> Result<Asked, Failure> {
    Pending::check(init, 1024)?.finish()
}

fn with(change: impl FnOnce(&mut UdfPayload)) -> Init {
    let mut init = init();
    change(init.udf.as_mut().unwrap());
    init
}

/// The rule that was broken.
fn refused(init: Init) -> String {
    match met(init).unwrap_err() {
        Failure::Protocol(rule) => rule,
        other => panic!("{other:?}"),
    }
}

#[test]
fn an_init_becomes_a_function() {
    let mut init = with(|udf| {
        udf.name = Some("double".to_owned());
        udf.eval_type = Some("batches".to_owned());
        udf.payload_size = Some(7);
        udf.payload_crc32 = Some(crc32fast::hash(b"pickled"));
    });
    let task = [
        ("stageId", "3"),
        ("partitionId", "1"),
        ("localProperties", "spark.hadoop.fs.s3a.secret.key=hunter2"),
    ];
    init.task_context = task
        .map(|(key, value)| (key.to_owned(), value.to_owned()))
        .into();
    let asked = met(init).unwrap();
    assert_eq!(asked.function.name, "double");
    assert_eq!(asked.function.kind, Kind::Batches);
    assert_eq!(asked.function.code, Code::Pickled(b"pickled".to_vec()));
    assert_eq!(
        asked.function.arguments.field(0).data_type(),
        &DataType::Int64
    );
    assert_eq!(asked.query, "stageId=3 partitionId=1");
}

#[test]
fn source_is_called_by_its_name() {
    let asked = met(with(|udf| {
        udf.format = "python-source".to_owned();
        udf.name = Some("double".to_owned());
        udf.payload = "def double(x): return x".into();
    }));
    let Code::Source { name, .. } = asked.unwrap().function.code else {
        panic!("not source");
    };
    assert_eq!(name, "double");
    let nameless = with(|udf| udf.format = "python-source".to_owned());
    assert!(refused(nameless).contains("UdfPayload.name"));
    let binary = with(|udf| {
        udf.format = "python-source".to_owned();
        udf.name = Some("f".to_owned());
        udf.payload = b"\xff".to_vec().into();
    });
    assert!(refused(binary).contains("UTF-8"));
}

#[test]
fn every_field_that_cannot_be_met_is_named() {
    let changed = |change: fn(&mut Init)| {
        let mut init = init();
        change(&mut init);
        refused(init)
    };
    let cases: [(&str, String); 13] = [
        (
            "Init.protocol_version 2",
            changed(|it| it.protocol_version = Some(2)),
        ),
        ("Init.data_format 0", changed(|it| it.data_format = 0)),
        ("Init.data_format 7", changed(|it| it.data_format = 7)),
        ("Init.udf is missing", changed(|it| it.udf = None)),
        (
            "Init.parameters",
            changed(|it| it.parameters = Some("x".into())),
        ),
        (
            "Init.input_schema is missing",
            changed(|it| it.input_schema = None),
        ),
        (
            "Init.output_schema: no",
            changed(|it| it.output_schema = Some("x".into())),
        ),
        (
            "UdfPayload.format is missing",
            refused(with(|udf| udf.format.clear())),
        ),
        (
            "UdfPayload.format \"wasm\"",
            refused(with(|udf| udf.format = "wasm".into())),
        ),
        (
            "UdfPayload.eval_type \"101\"",
            refused(with(|udf| udf.eval_type = Some("101".into()))),
        ),
        (
            "UdfPayload.name",
            refused(with(|udf| udf.name = Some("x".repeat(1025)))),
        ),
        (
            "less than none",
            refused(with(|udf| udf.payload_size = Some(-1))),
        ),
        ("an empty payload", refused(with(|udf| udf.payload.clear()))),
    ];
    for (wanted, found) in cases {
        assert!(found.contains(wanted), "{wanted}: {found}");
    }
}

#[test]
fn a_payload_is_as_declared_or_refused() {
    assert!(refused(with(|udf| udf.payload_size = Some(8))).contains("payload_size is 8"));
    assert!(refused(with(|udf| udf.payload_size = Some(6))).contains("over 6 bytes"));
    assert!(refused(with(|udf| udf.payload_size = Some(1025))).contains("--max-payload"));
    assert!(refused(with(|udf| udf.payload = vec![1; 1025].into())).contains("--max-payload"));
    assert!(refused(with(|udf| udf.payload_crc32 = Some(1))).contains("CRC"));
}

#[test]
fn the_crc_is_zlibs() {
    // The check value of CRC-32/ISO-HDLC.
    assert_eq!(crc32fast::hash(b"123456789"), 0xcbf4_3926);
}

#[test]
fn chunks_have_bytes() {
    let mut pending = Pending::check(init(), 1024).unwrap();
    assert!(pending.append(&Bytes::new()).is_err());
}

#[test]
fn a_schema_that_points_out_of_itself_is_refused() {
    let whole = init().input_schema.unwrap();
    for at in 8..whole.len() {
        let mut broken = whole.to_vec();
        broken[at] ^= 0xff;
        // Any answer but a panic: some bits are names, or padding.
        drop(data::schema("Init.input_schema", Some(&broken.into())));
    }
    let cut = whole.slice(..whole.len() - 8);
    assert!(data::schema("Init.input_schema", Some(&cut)).is_err());
}
