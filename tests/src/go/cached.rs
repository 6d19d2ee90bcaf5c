//! Statements that are prepared once per connection: the simulator runs a client's few statements very often.

use rusqlite::{Connection, Params, Row};

/// Room for all of a client's statements.
pub(super) const STATEMENTS_MAX: usize = 120;

/// What a connection does by prepared statements that it keeps.
pub(super) trait Cached {
    /// Runs a statement that returns nothing; tells how many rows it changed.
    fn execute_cached(&self, sql: &str, params: impl Params) -> rusqlite::Result<usize>;

    /// Reads one row.
    fn row_cached<T>(
        &self,
        sql: &str,
        params: impl Params,
        read: impl FnOnce(&Row<'_>) -> rusqlite::Result<T>,
    ) -> rusqlite::Result<T>;
}

impl Cached for Connection {
    fn execute_cached(&self, sql: &str, params: impl Params) -> rusqlite::Result<usize> {
        self.prepare_cached(sql)?.execute(params)
    }

    fn row_cached<T>(
        &self,
        sql: &str,
        params: impl Params,
        read: impl FnOnce(&Row<'_>) -> rusqlite::Result<T>,
    ) -> rusqlite::Result<T> {
        self.prepare_cached(sql)?.query_row(params, read)
    }
}
