-- What administrators did, for ever. Frozen: what changes is a new file. Written by the very statement that does it.

CREATE TABLE cloud_auth_audit_log (
    id          INTEGER PRIMARY KEY AUTOINCREMENT,
    -- In microseconds.
    occurred_at INTEGER NOT NULL,
    actor       TEXT NOT NULL,
    action      TEXT NOT NULL,
    project     TEXT,
    reason      TEXT
) STRICT;

CREATE TRIGGER cloud_audit_first_control AFTER INSERT ON cloud_project_controls BEGIN
    INSERT INTO cloud_auth_audit_log (occurred_at, actor, action, project, reason)
    VALUES (new.updated_at, new.updated_by, iif(new.sync_enabled, 'project.resume', 'project.pause'), new.project,
        new.paused_reason);
END;
CREATE TRIGGER cloud_audit_control AFTER UPDATE ON cloud_project_controls BEGIN
    INSERT INTO cloud_auth_audit_log (occurred_at, actor, action, project, reason)
    VALUES (new.updated_at, new.updated_by, iif(new.sync_enabled, 'project.resume', 'project.pause'), new.project,
        new.paused_reason);
END;
