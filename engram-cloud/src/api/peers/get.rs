//! `GET /sync/mutations/pull`: the form that a Go client speaks, for the whole grant in one order.

use super::page::{self, Page};
use crate::api::ApiError;
use crate::api::pull::PAGE_BYTES_MAX;
use crate::app::App;
use crate::auth::{Grant, Principal};
use crate::journal::{GrantAsk, GrantRows, Journal, JournalError};
use axum::extract::{RawQuery, State};
use axum::{Extension, Json};
use engram_proto::http::pull::{GrantPage, PulledMutation};
use std::sync::Arc;

/// Rows of one page; a peer asks for no more and gets no more.
const ROWS_MAX: usize = 100;

/// Answers with a page. Its `latest_seq` is the page's last number, and 0 when it is empty.
///
/// # Errors
/// [`ApiError`] where the store does not answer.
pub(crate) async fn pull<J: Journal>(
    State(app): State<App<J>>,
    Extension(principal): Extension<Arc<Principal>>,
    RawQuery(query): RawQuery,
) -> Result<Json<GrantPage>, ApiError> {
    let query = query.unwrap_or_default();
    let ask = GrantAsk {
        grant: principal.grant.clone(),
        since_seq: number(&query, "since_seq").unwrap_or(0),
        rows_max: number(&query, "limit").and_then(limit).unwrap_or(ROWS_MAX),
        bytes_max: PAGE_BYTES_MAX,
    };
    let (rows, has_more) = look(&app.journal, ask).await?;
    let project = match &principal.grant {
        Grant::Only(names) => names.first().map(ToString::to_string),
        Grant::Every => rows.first().map(|row| row.project.clone()),
    };
    Ok(Json(GrantPage {
        latest_seq: rows.last().map_or(0, |row| row.seq),
        mutations: rows,
        has_more,
        project: project.unwrap_or_default(),
        project_source: "request_body".to_owned(),
        project_path: String::new(),
    }))
}

/// Reads on until there is a row to serve or none is left: a client asks again from the last row it was shown, so an
/// empty page that says "more" would be asked for without end.
async fn look<J: Journal>(journal: &J, mut ask: GrantAsk) -> Result<(Vec<PulledMutation>, bool), JournalError> {
    let mut page = Page::new(ask.since_seq, ask.rows_max);
    loop {
        let GrantRows { rows, read_to, has_more } = journal.grant_page(ask.clone()).await?;
        let rows = page::read(rows);
        let sessions = journal.sessions(page::named(&rows)).await?;
        for row in rows {
            if !page.take(row, &sessions) {
                return Ok((page.into_rows(), true));
            }
        }
        if !has_more || !page.is_empty() {
            return Ok((page.into_rows(), has_more));
        }
        ask.since_seq = read_to;
    }
}

fn limit(asked: u64) -> Option<usize> {
    usize::try_from(asked).ok().filter(|&asked| asked > 0).map(|asked| asked.min(ROWS_MAX))
}

/// Finds a number in a query; what is none is as good as not given.
fn number(query: &str, name: &str) -> Option<u64> {
    let pairs = query.split('&').filter_map(|pair| pair.split_once('='));
    pairs.filter(|(key, _)| *key == name).find_map(|(_, value)| value.parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bad_numbers_are_ignored() {
        assert_eq!(number("since_seq=7&limit=abc", "since_seq"), Some(7));
        assert_eq!(number("since_seq=7&limit=abc", "limit"), None);
        assert_eq!(number("since_seq=-1", "since_seq"), None);
        assert_eq!(limit(9_999), Some(100));
        assert_eq!(limit(0), None);
    }
}
