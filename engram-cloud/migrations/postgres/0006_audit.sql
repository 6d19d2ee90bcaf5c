-- What administrators did. Frozen: what changes is a new file. The table is the peer's; who acted and why stands in
-- `metadata`, for we have no principals yet.

CREATE TABLE IF NOT EXISTS cloud_auth_audit_log (
    id                  bigserial PRIMARY KEY,
    occurred_at         timestamptz NOT NULL DEFAULT now(),
    actor_principal_id  bigint,
    actor_source        text NOT NULL,
    target_principal_id bigint,
    project             text,
    action              text NOT NULL,
    outcome             text NOT NULL,
    reason_code         text,
    metadata            jsonb
);
