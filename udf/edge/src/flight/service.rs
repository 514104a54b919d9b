//! What is asked of the server.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use arrow_flight::flight_service_server::FlightService;
use arrow_flight::{
    Action, ActionType, Criteria, Empty, FlightData, FlightDescriptor, FlightEndpoint, FlightInfo,
    HandshakeRequest, HandshakeResponse, IpcMessage, PollInfo, PutResult, SchemaAsIpc,
    SchemaResult, Ticket,
};
use arrow_ipc::writer::IpcWriteOptions;
use arrow_schema::{ArrowError, DataType, Field, Fields, Schema, SchemaRef};
use futures::StreamExt;
use futures::stream::{self, BoxStream};
use lakekeep_udf_client::Kind;
use tokio::sync::Semaphore;
use tonic::{Request, Response, Status, Streaming};

use crate::flight::exchange;
use crate::functions::Declared;
use crate::sessions::{Pool, Sessions};

/// Where Databend looks for how many columns are a call's.
const INPUT_COUNT: &str = "x-databend-udf-input-count";

/// What both engines' clients ask first.
const VERSION: &str = "protocol_version";

/// A server's state.
#[derive(Debug)]
pub struct Edge {
    /// What can be called.
    pub sessions: Sessions,
    /// How long a call waits for a session.
    pub patience: Duration,
    /// How many exchanges there may be at once.
    pub exchanges: Arc<Semaphore>,
}

impl Edge {
    fn pool(&self, descriptor: &FlightDescriptor) -> Result<&Arc<Pool>, Status> {
        let [name] = descriptor.path.as_slice() else {
            return Err(Status::invalid_argument(
                "a path of one name, the function's, is wanted",
            ));
        };
        let found = self.sessions.get(name);
        found.ok_or_else(|| {
            let all = self.sessions.all();
            let names: Vec<&str> = all.iter().map(|pool| pool.name()).collect();
            let names = names.join(", ");
            Status::not_found(format!("there is no function {name:?}; there are: {names}"))
        })
    }
}

/// The columns that answer a call.
pub fn answers(declared: &Declared) -> SchemaRef {
    let function = &declared.function;
    if function.kind != Kind::Table {
        return function.returns.clone();
    }
    let fields = function.returns.fields();
    let value = match fields.as_ref() {
        [one] => one.data_type().clone(),
        more => DataType::Struct(Fields::from(more.to_vec())),
    };
    Arc::new(Schema::new(vec![
        Field::new("row", DataType::Int32, false),
        Field::new("value", value, true),
    ]))
}

/// The columns of a call, then those of an answer.
fn described(declared: &Declared) -> Schema {
    let arguments = declared.function.arguments.fields();
    let answers = answers(declared);
    let fields: Vec<_> = arguments.iter().chain(answers.fields()).cloned().collect();
    let count = [(INPUT_COUNT.to_owned(), arguments.len().to_string())];
    Schema::new_with_metadata(fields, HashMap::from(count))
}

fn info(pool: &Pool) -> Result<FlightInfo, ArrowError> {
    let declared = &pool.declared;
    let count = declared.function.arguments.fields().len();
    let info = FlightInfo::new().try_with_schema(&described(declared))?;
    Ok(info
        .with_descriptor(FlightDescriptor::new_path(vec![pool.name().to_owned()]))
        .with_endpoint(FlightEndpoint::new())
        .with_total_records(i64::try_from(count).unwrap_or(i64::MAX)))
}

fn undescribed(error: ArrowError) -> Status {
    Status::internal(format!("the function cannot be described: {error}"))
}

fn unknown(method: &str) -> Status {
    Status::unimplemented(format!(
        "{method}: user functions are called with DoExchange"
    ))
}

type Answers<T> = BoxStream<'static, Result<T, Status>>;

#[tonic::async_trait]
impl FlightService for Edge {
    type HandshakeStream = Answers<HandshakeResponse>;
    type ListFlightsStream = Answers<FlightInfo>;
    type DoGetStream = Answers<FlightData>;
    type DoPutStream = Answers<PutResult>;
    type DoExchangeStream = Answers<FlightData>;
    type DoActionStream = Answers<arrow_flight::Result>;
    type ListActionsStream = Answers<ActionType>;

    async fn list_flights(
        &self,
        _: Request<Criteria>,
    ) -> Result<Response<Self::ListFlightsStream>, Status> {
        let all: Vec<_> = self
            .sessions
            .all()
            .into_iter()
            .map(|pool| info(pool).map_err(undescribed))
            .collect();
        Ok(Response::new(stream::iter(all).boxed()))
    }

    async fn get_flight_info(
        &self,
        request: Request<FlightDescriptor>,
    ) -> Result<Response<FlightInfo>, Status> {
        let pool = self.pool(request.get_ref())?;
        info(pool).map(Response::new).map_err(undescribed)
    }

    async fn get_schema(
        &self,
        request: Request<FlightDescriptor>,
    ) -> Result<Response<SchemaResult>, Status> {
        let schema = described(&self.pool(request.get_ref())?.declared);
        let options = IpcWriteOptions::default();
        let message = IpcMessage::try_from(SchemaAsIpc::new(&schema, &options));
        let IpcMessage(schema) = message.map_err(undescribed)?;
        Ok(Response::new(SchemaResult { schema }))
    }

    async fn do_exchange(
        &self,
        request: Request<Streaming<FlightData>>,
    ) -> Result<Response<Self::DoExchangeStream>, Status> {
        let permit = self.exchanges.clone().try_acquire_owned().map_err(|_| {
            Status::resource_exhausted(
                "as many calls are answered as may be at once; send fewer, or raise --calls",
            )
        })?;
        let mut incoming = request.into_inner();
        let first = incoming.message().await?;
        let first = first.ok_or_else(|| Status::invalid_argument("a call without a message"))?;
        let Some(descriptor) = &first.flight_descriptor else {
            return Err(Status::invalid_argument(
                "the first message says no function: its descriptor is missing",
            ));
        };
        let pool = self.pool(descriptor)?.clone();
        let incoming = stream::iter([Ok(first)]).chain(incoming).boxed();
        let answers = exchange::start(pool, self.patience, permit, incoming);
        Ok(Response::new(answers))
    }

    async fn do_action(
        &self,
        request: Request<Action>,
    ) -> Result<Response<Self::DoActionStream>, Status> {
        match request.get_ref().r#type.as_str() {
            VERSION => {
                let body = vec![2].into();
                let version = arrow_flight::Result { body };
                Ok(Response::new(stream::iter([Ok(version)]).boxed()))
            }
            other => Err(Status::unimplemented(format!(
                "there is no action {other:?}; there is {VERSION:?}"
            ))),
        }
    }

    async fn list_actions(
        &self,
        _: Request<Empty>,
    ) -> Result<Response<Self::ListActionsStream>, Status> {
        let version = ActionType {
            r#type: VERSION.to_owned(),
            description: "the version of the protocol, one byte".to_owned(),
        };
        Ok(Response::new(stream::iter([Ok(version)]).boxed()))
    }

    async fn handshake(
        &self,
        _: Request<Streaming<HandshakeRequest>>,
    ) -> Result<Response<Self::HandshakeStream>, Status> {
        Err(unknown("Handshake"))
    }

    async fn poll_flight_info(
        &self,
        _: Request<FlightDescriptor>,
    ) -> Result<Response<PollInfo>, Status> {
        Err(unknown("PollFlightInfo"))
    }

    async fn do_get(&self, _: Request<Ticket>) -> Result<Response<Self::DoGetStream>, Status> {
        Err(unknown("DoGet"))
    }

    async fn do_put(
        &self,
        _: Request<Streaming<FlightData>>,
    ) -> Result<Response<Self::DoPutStream>, Status> {
        Err(unknown("DoPut"))
    }
}
