//! ClickHouse's executable functions: streams of Arrow on standard input, one for each block,
//! answered on standard output.
//!
//! A pool keeps the program between blocks, so no answer may have an end-of-stream: what
//! follows it would be read as the next block's answer.

use std::io::{self, BufRead, Read, Write};
use std::sync::Arc;
use std::time::Duration;

use arrow_ipc::reader::StreamReader;
use arrow_ipc::writer::StreamWriter;
use arrow_schema::ArrowError;
use lakekeep_udf_client::{Session, UdfError};

use crate::columns::fit;
use crate::functions::Declared;
use crate::sessions::{Pool, TakeError};

/// Why a block was not answered.
#[derive(Debug, thiserror::Error)]
pub enum StdioError {
    /// What was read is no stream of Arrow, or not of the columns that are declared.
    #[error(
        "block {block} cannot be read: set the format of the function to ArrowStream, and its types as declared"
    )]
    Input {
        /// Counted from 1.
        block: u64,
        /// Why.
        #[source]
        error: ArrowError,
    },
    /// The answer cannot be written.
    #[error("block {block} cannot be answered")]
    Output {
        /// Counted from 1.
        block: u64,
        /// Why.
        #[source]
        error: ArrowError,
    },
    /// There is no session.
    #[error(transparent)]
    Take(#[from] TakeError),
    /// Of the function.
    #[error("block {block} was not answered")]
    Udf {
        /// Counted from 1.
        block: u64,
        /// Why.
        #[source]
        error: UdfError,
    },
}

/// Answers blocks until standard input ends.
///
/// # Errors
/// [`StdioError`]; the engine shows it, and starts the program again.
pub fn serve(
    pool: &Arc<Pool>,
    mut input: impl BufRead,
    mut output: impl Write,
    counted: bool,
) -> Result<(), StdioError> {
    // Opened before the first block: the engine starts the program ahead of it.
    let mut leased = pool.take(Duration::ZERO)?;
    let mut block = 0;
    while more(&mut input, counted).map_err(|error| unreadable(block + 1, error.into()))? {
        block += 1;
        let Some((session, declared)) = leased.parts() else {
            return Ok(());
        };
        answer(session, declared, block, &mut input, &mut output)?;
    }
    Ok(())
}

/// Whether there is another block. Where the engine counts them (`send_chunk_header`), its
/// rows come first, which the stream tells, too.
fn more(input: &mut impl BufRead, counted: bool) -> io::Result<bool> {
    if input.fill_buf()?.is_empty() {
        return Ok(false);
    }
    if counted {
        let mut line = Vec::new();
        // Twenty digits are the largest number of rows.
        input.by_ref().take(21).read_until(b'\n', &mut line)?;
        let digits = line.strip_suffix(b"\n").unwrap_or_default();
        if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
            let text = "there is no count of rows before the block";
            return Err(io::Error::new(io::ErrorKind::InvalidData, text));
        }
    }
    Ok(true)
}

fn answer(
    session: &mut Session,
    declared: &Declared,
    block: u64,
    input: &mut impl BufRead,
    output: &mut impl Write,
) -> Result<(), StdioError> {
    let batches = StreamReader::try_new(input, None).map_err(|error| unreadable(block, error))?;
    let failed = |error| StdioError::Output { block, error };
    let mut writer =
        StreamWriter::try_new(&mut *output, &declared.function.returns).map_err(failed)?;
    for batch in batches {
        let batch = batch
            .and_then(|batch| fit(&batch, &declared.function.arguments))
            .map_err(|error| unreadable(block, error))?;
        let answered = session.call(&batch);
        let answered = answered.map_err(|error| StdioError::Udf { block, error })?;
        writer.write(&answered).map_err(failed)?;
    }
    // Without an end of the stream, which `finish` would write.
    writer.flush().map_err(failed)
}

fn unreadable(block: u64, error: ArrowError) -> StdioError {
    StdioError::Input { block, error }
}
