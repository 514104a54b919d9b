//! Looking for rows.

use rusqlite::{Connection, ToSql};

use super::gap::Gap;
use super::row::{FlowRow, FlowVerdict};
use crate::Timestamp;
use crate::state::{Sql, StoreError};

/// Most rows of a page.
pub const LONGEST_FLOW_PAGE: usize = 10_000;

/// Most gaps that are given.
const MOST_GAPS: i64 = 1000;

/// Which flows; an absent field takes all.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filter {
    /// Not earlier.
    pub since: Option<Timestamp>,
    /// Earlier than it.
    pub until: Option<Timestamp>,
    /// For whom the sandbox was made.
    pub principal: Option<String>,
    /// The profile.
    pub profile: Option<String>,
    /// The sandbox.
    pub sandbox: Option<String>,
    /// One of these; none: any.
    pub verdicts: Vec<FlowVerdict>,
    /// The name; `*.files.example`: every name below it.
    pub name: Option<String>,
}

/// A place between two rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cursor {
    time: i64,
    number: i64,
}

/// A part of the answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FlowPage {
    /// The rows.
    pub rows: Vec<FlowRow>,
    /// Where the next part begins; none at the end.
    pub next: Option<Cursor>,
}

/// Conditions, and what stands in them.
#[derive(Default)]
struct Where<'a> {
    text: String,
    values: Vec<(&'static str, Box<dyn ToSql + 'a>)>,
}

impl<'a> Where<'a> {
    /// A condition with a value, if there is one. Only the conditions that are asked for
    /// are written, so that SQLite takes the index that fits them.
    fn add(
        &mut self,
        condition: &str,
        name: &'static str,
        value: Option<impl ToSql + 'a>,
    ) -> &mut Where<'a> {
        if let Some(value) = value {
            self.text += " AND ";
            self.text += condition;
            self.values.push((name, Box::new(value)));
        }
        self
    }
}

pub(super) fn page(
    connection: &Connection,
    filter: &Filter,
    after: Option<Cursor>,
    most: usize,
) -> Result<FlowPage, StoreError> {
    const OPERATION: &str = "read the log of flows";
    let most = most.clamp(1, LONGEST_FLOW_PAGE);
    let conditions = conditions(filter, after, most);
    let sql = format!(
        "SELECT * FROM flows WHERE TRUE{} ORDER BY time, number LIMIT :most",
        conditions.text
    );
    let mut statement = connection.prepare_cached(&sql).sql(OPERATION)?;
    let values: Vec<(&str, &dyn ToSql)> = conditions
        .values
        .iter()
        .map(|(name, value)| (*name, value.as_ref()))
        .collect();
    let found = statement
        .query_map(values.as_slice(), |row| {
            let cursor = Cursor {
                time: row.get("time")?,
                number: row.get("number")?,
            };
            Ok((cursor, FlowRow::read(row)?))
        })
        .sql(OPERATION)?;
    let found: Vec<(Cursor, FlowRow)> = found.collect::<rusqlite::Result<_>>().sql(OPERATION)?;
    // One more than is given shows whether there is a next part.
    let last = found.get(most - 1).map(|(cursor, _)| *cursor);
    let next = last.filter(|_| found.len() > most);
    let rows = found.into_iter().take(most).map(|(_, row)| row).collect();
    Ok(FlowPage { rows, next })
}

fn conditions(filter: &Filter, after: Option<Cursor>, most: usize) -> Where<'_> {
    let mut all = Where::default();
    let since = filter.since.map(Timestamp::to_sql);
    // Two conditions of the cursor: the first is the index's, the second decides.
    let from = since
        .into_iter()
        .chain(after.map(|cursor| cursor.time))
        .max();
    all.add("time >= :from", ":from", from)
        .add(
            "time < :until",
            ":until",
            filter.until.map(Timestamp::to_sql),
        )
        .add(
            "principal = :principal",
            ":principal",
            filter.principal.as_deref(),
        )
        .add("profile = :profile", ":profile", filter.profile.as_deref())
        .add("sandbox = :sandbox", ":sandbox", filter.sandbox.as_deref());
    if let Some(cursor) = after {
        all.add(
            "(time > :time OR number > :number)",
            ":time",
            Some(cursor.time),
        );
        all.values.push((":number", Box::new(cursor.number)));
    }
    match filter
        .name
        .as_deref()
        .map(|name| (name, name.strip_prefix('*')))
    {
        None => {}
        Some((_, Some(below))) if below.starts_with('.') => {
            let condition = "substr(name, -length(:name)) = :name";
            all.add(condition, ":name", Some(below));
        }
        Some((name, _)) => {
            all.add("name = :name", ":name", Some(name));
        }
    }
    if !filter.verdicts.is_empty() {
        // Words of a closed set, none of which has a quote.
        let words = filter.verdicts.iter().map(|word| format!("'{word}'"));
        let words: Vec<String> = words.collect();
        all.text += &format!(" AND verdict IN ({})", words.join(", "));
    }
    let fetch = i64::try_from(most).unwrap_or(i64::MAX).saturating_add(1);
    all.values.push((":most", Box::new(fetch)));
    all
}

pub(super) fn gaps(
    connection: &Connection,
    since: Option<Timestamp>,
    until: Option<Timestamp>,
) -> Result<Vec<Gap>, StoreError> {
    const OPERATION: &str = "read the gaps of the log of flows";
    let since = since.map_or(0, Timestamp::to_sql);
    let until = until.map_or(i64::MAX, Timestamp::to_sql);
    let sql = "SELECT first, last, rows, cause FROM gaps WHERE last >= ?1 AND first < ?2
         ORDER BY last, number LIMIT ?3";
    let mut statement = connection.prepare_cached(sql).sql(OPERATION)?;
    let found = statement
        .query_map((since, until, MOST_GAPS), |row| {
            let rows: Option<i64> = row.get("rows")?;
            Ok(Gap {
                first: Timestamp::from_sql(row.get("first")?),
                last: Timestamp::from_sql(row.get("last")?),
                rows: rows.map(|rows| u64::try_from(rows).unwrap_or(0)),
                cause: row.get("cause")?,
            })
        })
        .sql(OPERATION)?;
    found.collect::<rusqlite::Result<_>>().sql(OPERATION)
}
