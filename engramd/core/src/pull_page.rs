//! Whether a page is what was asked for, before anything of it is applied.

use engram_proto::http::pull::{PullReply, PullRequest};

/// Returns what is wrong with a page; a page that is wrong is the server's fault and applies nothing.
///
/// "More" without a cursor that moves, or a chunk that was read, would be a loop without end, and a cursor that moves back
/// or past the head a promise that nobody can keep (CUR-1).
///
/// # Errors
/// What is wrong, in words.
pub fn check(request: &PullRequest, reply: &PullReply) -> Result<(), String> {
    for (project, &cursor) in &reply.cursors {
        let Some(&asked) = request.cursors.get(project) else {
            return Err(format!("it serves project {project}, which was not asked for"));
        };
        if cursor < asked {
            return Err(format!("it moves the cursor of {project} back from {asked} to {cursor}"));
        }
    }
    for row in &reply.mutations {
        let asked = request.cursors.iter().find(|(project, _)| project.as_str() == row.project);
        let Some((project, &asked)) = asked else {
            return Err(format!("it serves a row of project {:?}, which was not asked for", row.project));
        };
        // Rows beyond the cursor are served again the next time, which repeats and loses nothing.
        if row.seq <= asked {
            return Err(format!("row {} of {project} lies before {asked}", row.seq));
        }
    }
    let moves =
        !reply.chunks.is_empty() || reply.cursors.iter().any(|(project, &cursor)| request.cursors[project] < cursor);
    if reply.has_more && !moves && request.limit > 0 {
        return Err("it says that there is more and moves no cursor".to_owned());
    }
    Ok(())
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;
    use engram_proto::http::pull::ChunksRead;
    use engram_proto::id::ProjectName;

    #[test]
    fn cur_1_a_page_that_cannot_be_true_is_refused() {
        let p = ProjectName::parse("p").unwrap();
        let request = PullRequest { cursors: [(p.clone(), 16)].into(), limit: 10, ..PullRequest::default() };
        let page =
            |cursor, has_more| PullReply { cursors: [(p.clone(), cursor)].into(), has_more, ..PullReply::default() };
        assert_eq!(check(&request, &page(24, true)), Ok(()));
        assert_eq!(check(&request, &page(16, false)), Ok(()));
        assert!(check(&request, &page(8, false)).unwrap_err().contains("back"));
        assert!(check(&request, &page(16, true)).unwrap_err().contains("moves no cursor"));
        let chunks = [(p.clone(), ChunksRead::default())].into();
        assert_eq!(check(&request, &PullReply { chunks, ..page(16, true) }), Ok(()), "chunks came");
        let other = PullReply { cursors: [(ProjectName::parse("q").unwrap(), 1)].into(), ..PullReply::default() };
        assert!(check(&request, &other).unwrap_err().contains("not asked for"));
    }
}
