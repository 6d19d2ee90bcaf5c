//! What a push reply says about each row that was sent (ACK-1).

use crate::rows::{PendingRow, Settlement};
use engram_proto::http::push::{PushReply, Receipt, ReceiptStatus};
use engram_proto::reason::ReasonCode;
use std::collections::HashMap;
use std::sync::Arc;

/// Returns what became of the rows that the reply names; a row it does not name stays pending.
///
/// Only ids count: an empty list, a short one or another request's receipts acknowledge nothing that they do not name.
#[must_use]
pub fn settlements(rows: &[Arc<PendingRow>], reply: &PushReply) -> Vec<Settlement> {
    let receipts: HashMap<&str, &Receipt> =
        reply.receipts.iter().map(|receipt| (receipt.mutation_id.as_str(), receipt)).collect();
    rows.iter().filter_map(|row| settlement(row, receipts.get(row.mutation_id.as_str())?)).collect()
}

fn settlement(row: &PendingRow, receipt: &Receipt) -> Option<Settlement> {
    match receipt.status {
        ReceiptStatus::Accepted | ReceiptStatus::Duplicate | ReceiptStatus::Superseded => Some(Settlement::Acked {
            seq: row.seq,
            cloud_seq: receipt.seq.filter(|&seq| seq > 0)?,
            occurred_at: receipt.occurred_at.clone(),
        }),
        ReceiptStatus::Rejected => {
            let field = receipt.field.as_deref().map(|field| format!(" (field {field})")).unwrap_or_default();
            let words = receipt.message.as_deref().or(receipt.reason_code.as_deref()).unwrap_or("rejected");
            Some(Settlement::Held {
                seq: row.seq,
                reason: ReasonCode::RowRejected,
                evidence: format!("{words}{field}"),
            })
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use engram_proto::canonical::Object;
    use engram_proto::mutation::Op;

    pub(crate) fn row(seq: i64) -> Arc<PendingRow> {
        Arc::new(PendingRow {
            seq,
            entity: "observation".to_owned(),
            entity_key: format!("obs-{seq}"),
            op: Op::Upsert,
            payload: Object::new(),
            mutation_id: format!("d:{seq}:0"),
            base: None,
            body_bytes: 100,
        })
    }

    fn receipt(seq: i64, status: ReceiptStatus, cloud_seq: Option<u64>) -> Receipt {
        Receipt {
            mutation_id: format!("d:{seq}:0"),
            status,
            seq: cloud_seq,
            occurred_at: None,
            reason_code: None,
            field: Some("title".to_owned()),
            message: None,
        }
    }

    /// ACK-1: an empty reply, a short one and foreign receipts acknowledge only what they name.
    #[test]
    fn ack_1_only_what_is_named_is_acknowledged() {
        let rows = [row(1), row(2), row(3)];
        let reply = |receipts| PushReply { accepted_seqs: vec![8, 16, 24], receipts, ..PushReply::default() };
        assert_eq!(settlements(&rows, &reply(vec![])), []);
        let named = reply(vec![
            receipt(2, ReceiptStatus::Accepted, Some(16)),
            receipt(9, ReceiptStatus::Accepted, Some(99)),
            receipt(3, ReceiptStatus::Accepted, None),
        ]);
        assert_eq!(settlements(&rows, &named), [Settlement::Acked { seq: 2, cloud_seq: 16, occurred_at: None }]);
    }

    #[test]
    fn iso_1_a_rejected_row_is_held_with_the_servers_words() {
        let reply = PushReply { receipts: vec![receipt(1, ReceiptStatus::Rejected, None)], ..PushReply::default() };
        let [Settlement::Held { seq: 1, reason: ReasonCode::RowRejected, evidence }] =
            &settlements(&[row(1)], &reply)[..]
        else {
            panic!("held")
        };
        assert_eq!(evidence, "rejected (field title)");
    }
}
