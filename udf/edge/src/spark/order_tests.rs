use super::super::asked::samples;
use super::super::proto::execution_error::Kind;
use super::super::proto::{
    Cancel, DataRequest, ExecutionError, Finish, UdfControlRequest, UdfPayload,
};
use super::*;

fn order() -> Order {
    Order::new(1024, Arc::default())
}

fn asks(control: Asks) -> UdfRequest {
    UdfRequest {
        request: Some(Request::Control(UdfControlRequest {
            control: Some(control),
        })),
    }
}

fn an_init() -> UdfRequest {
    asks(Asks::Init(Box::new(samples::init())))
}

fn a_chunked_init() -> UdfRequest {
    let mut init = samples::init();
    init.is_chunking_payload = Some(true);
    init.udf = Some(UdfPayload {
        payload: Bytes::new(),
        ..samples::init().udf.unwrap()
    });
    asks(Asks::Init(Box::new(init)))
}

fn a_chunk(data: &'static str, last: bool) -> UdfRequest {
    asks(Asks::Payload(PayloadChunk {
        data: data.into(),
        last: last.then_some(true),
    }))
}

fn some_data() -> UdfRequest {
    UdfRequest {
        request: Some(Request::Data(DataRequest {
            data: "batch".into(),
        })),
    }
}

fn a_finish() -> UdfRequest {
    asks(Asks::Finish(Finish {}))
}

fn a_cancel() -> UdfRequest {
    asks(Asks::Cancel(Cancel { reason: None }))
}

/// The order after Init and InitResponse.
fn flowing() -> Order {
    let mut order = order();
    assert_eq!(told(&order.heard(an_init())), ["open"]);
    assert_eq!(told(&order.opened()), ["init"]);
    order
}

fn draining() -> Order {
    let mut order = flowing();
    assert_eq!(told(&order.heard(a_finish())), ["end"]);
    order
}

fn a_user_error() -> Failure {
    Failure::User {
        message: "no".to_owned(),
        traceback: String::new(),
        class: "ValueError".to_owned(),
    }
}

/// Acts in short: what is done, and what is said with the kind of its error.
fn told(acts: &[Act]) -> Vec<String> {
    acts.iter().map(short).collect()
}

fn short(act: &Act) -> String {
    match act {
        Act::Open(_) => "open".to_owned(),
        Act::Feed(_) => "feed".to_owned(),
        Act::EndInput => "end".to_owned(),
        Act::Kill => "kill".to_owned(),
        Act::Close => "close".to_owned(),
        Act::Abandon => "abandon".to_owned(),
        Act::Say(response) => match response.response.as_ref().unwrap() {
            Response::Data(_) => "data".to_owned(),
            Response::Control(control) => match control.control.as_ref().unwrap() {
                Answer::Init(init) => with("init", init.error.as_ref()),
                Answer::Finish(finish) => with("finish", finish.error.as_ref()),
                Answer::Cancel(cancel) => with("cancel", cancel.error.as_ref()),
                Answer::Error(error) => with("error", error.error.as_ref()),
            },
        },
    }
}

fn with(word: &str, error: Option<&ExecutionError>) -> String {
    match error.map(|error| error.kind.as_ref().unwrap()) {
        None => word.to_owned(),
        Some(Kind::User(_)) => format!("{word} user"),
        Some(Kind::Worker(_)) => format!("{word} worker"),
        Some(Kind::Protocol(_)) => format!("{word} protocol"),
    }
}

#[test]
fn a_stream_in_order() {
    let mut order = flowing();
    assert_eq!(told(&order.heard(some_data())), ["feed"]);
    assert_eq!(told(&order.answered("a".into())), ["data"]);
    assert_eq!(told(&order.heard(a_finish())), ["end"]);
    assert_eq!(told(&order.answered("b".into())), ["data"]);
    assert_eq!(told(&order.done()), ["finish", "close"]);
    assert!(order.heard(a_cancel()).is_empty(), "it comes too late");
}

#[test]
fn a_function_that_reads_nothing() {
    let mut order = flowing();
    assert_eq!(told(&order.answered("a".into())), ["data"]);
    assert_eq!(told(&order.heard(a_finish())), ["end"]);
    assert_eq!(told(&order.done()), ["finish", "close"]);
}

#[test]
fn a_function_that_wants_no_more_is_given_no_more() {
    let mut order = flowing();
    assert_eq!(told(&order.done()), ["kill"]);
    assert!(order.lost().is_empty());
    assert!(order.heard(some_data()).is_empty());
    assert_eq!(told(&order.heard(a_finish())), ["finish", "close"]);
}

#[test]
fn a_payload_in_chunks() {
    let mut order = order();
    assert!(order.heard(a_chunked_init()).is_empty());
    assert!(order.heard(a_chunk("pick", false)).is_empty());
    let acts = order.heard(a_chunk("led", true));
    let [Act::Open(asked)] = acts.as_slice() else {
        panic!("{acts:?}");
    };
    let code = lakekeep_udf_client::Code::Pickled(b"pickled".to_vec());
    assert_eq!(asked.function.code, code);
    assert_eq!(told(&order.opened()), ["init"]);
}

#[test]
fn what_comes_before_its_time_is_told_in_the_answer_to_init() {
    let ended = ["kill", "init protocol", "cancel", "close"];
    for early in [some_data(), a_finish(), a_chunk("x", true)] {
        assert_eq!(told(&order().heard(early.clone())), ended);
        let mut opening = order();
        opening.heard(an_init());
        assert_eq!(told(&opening.heard(early)), ended);
    }
    for early in [some_data(), a_finish(), an_init()] {
        let mut collecting = order();
        collecting.heard(a_chunked_init());
        assert_eq!(told(&collecting.heard(early)), ended);
    }
}

#[test]
fn what_comes_after_its_time_is_told_in_an_error() {
    for late in [an_init(), a_chunk("x", true), UdfRequest::default()] {
        let acts = flowing().heard(late);
        assert_eq!(told(&acts), ["kill", "error protocol", "cancel", "close"]);
    }
    let empty = UdfRequest {
        request: Some(Request::Data(DataRequest::default())),
    };
    let acts = flowing().heard(empty);
    assert_eq!(told(&acts), ["kill", "error protocol", "cancel", "close"]);
}

#[test]
fn what_comes_after_finish_is_told_in_the_answer_to_cancel() {
    for late in [an_init(), a_chunk("x", true), some_data(), a_finish()] {
        let acts = draining().heard(late);
        assert_eq!(told(&acts), ["kill", "cancel protocol", "close"]);
    }
}

#[test]
fn cancel_may_come_at_any_time() {
    let ended = ["kill", "cancel", "close"];
    let mut collecting = order();
    collecting.heard(a_chunked_init());
    let mut opening = order();
    opening.heard(an_init());
    for mut at in [order(), collecting, opening, flowing(), draining()] {
        assert_eq!(told(&at.heard(a_cancel())), ended);
        assert!(at.answered("late".into()).is_empty());
        assert!(at.opened().is_empty() && at.done().is_empty());
        assert!(at.fail(a_user_error()).is_empty());
        assert!(at.heard(some_data()).is_empty());
    }
}

#[test]
fn an_init_that_cannot_be_met_waits_for_cancel() {
    let mut order = order();
    let init = asks(Asks::Init(Box::default()));
    assert_eq!(told(&order.heard(init)), ["kill", "init protocol"]);
    // Its chunks were on their way.
    assert!(order.heard(a_chunk("x", true)).is_empty());
    assert_eq!(told(&order.heard(a_cancel())), ["kill", "cancel", "close"]);
}

#[test]
fn a_function_that_cannot_be_had_waits_for_cancel() {
    let mut order = order();
    order.heard(an_init());
    assert_eq!(told(&order.fail(a_user_error())), ["kill", "init user"]);
    assert_eq!(told(&order.heard(a_cancel())), ["kill", "cancel", "close"]);
}

#[test]
fn a_function_that_fails_waits_for_cancel() {
    for mut order in [flowing(), draining()] {
        assert_eq!(told(&order.fail(a_user_error())), ["kill", "error user"]);
        assert!(order.fail(a_user_error()).is_empty(), "it is told once");
        // They were on their way.
        assert!(order.heard(some_data()).is_empty());
        assert!(order.heard(a_finish()).is_empty());
        assert!(order.answered("late".into()).is_empty());
        assert_eq!(told(&order.heard(a_cancel())), ["kill", "cancel", "close"]);
    }
}

#[test]
fn what_nobody_can_have_sent_before_it_heard_of_a_failure() {
    let mut order = flowing();
    order.fail(a_user_error());
    let acts = order.heard(an_init());
    assert_eq!(told(&acts), ["kill", "cancel protocol", "close"]);
}

#[test]
fn a_side_that_closes_early_is_out_of_order() {
    let acts = flowing().half_closed();
    assert_eq!(told(&acts), ["kill", "error protocol", "cancel", "close"]);
    let mut failed = flowing();
    failed.fail(a_user_error());
    assert_eq!(told(&failed.half_closed()), ["kill", "cancel", "close"]);
}

#[test]
fn a_broken_stream_is_told_nothing() {
    for mut order in [order(), flowing(), draining()] {
        assert_eq!(told(&order.gone()), ["abandon"]);
        assert!(order.heard(a_cancel()).is_empty());
    }
}

#[test]
fn a_worker_that_ends_tells_every_stream() {
    let ends = |mut order: Order| told(&order.shut("it ends"));
    assert_eq!(ends(order()), ["kill", "init worker", "cancel", "close"]);
    for order in [flowing(), draining()] {
        assert_eq!(ends(order), ["kill", "error worker", "cancel", "close"]);
    }
    let mut failed = flowing();
    failed.fail(a_user_error());
    assert_eq!(ends(failed), ["kill", "cancel", "close"]);
}

#[test]
fn a_session_that_says_nothing_more_has_failed() {
    assert_eq!(told(&flowing().lost()), ["kill", "error worker"]);
    assert_eq!(told(&draining().lost()), ["kill", "error worker"]);
    let mut opening = order();
    opening.heard(an_init());
    assert_eq!(told(&opening.lost()), ["kill", "init worker"]);
}
