//! Bringing a database to this program's version, one process at a time.

use super::{OpenError, digests};
use sqlx::{Connection, PgConnection, Row};

/// Frozen, in order; the version table counts those that were applied.
const MIGRATIONS: [&str; 7] = [
    include_str!("../../../migrations/postgres/0001_journal.sql"),
    include_str!("../../../migrations/postgres/0002_versions.sql"),
    include_str!("../../../migrations/postgres/0003_waiting.sql"),
    include_str!("../../../migrations/postgres/0004_digests.sql"),
    include_str!("../../../migrations/postgres/0005_chunks.sql"),
    include_str!("../../../migrations/postgres/0006_audit.sql"),
    include_str!("../../../migrations/postgres/0007_compaction.sql"),
];

/// Whoever migrates holds this advisory lock: `ECLD`, and what it is for.
const BEGIN: &str = "BEGIN; SET LOCAL statement_timeout = 0; SET LOCAL lock_timeout = 0;
    SELECT pg_advisory_xact_lock(1162037316, 1);
    CREATE TABLE IF NOT EXISTS engram_migrations
        (version integer PRIMARY KEY, applied_at timestamptz NOT NULL DEFAULT now())";

/// Applies what is missing, all of it or nothing.
pub(super) async fn migrate(connection: &mut PgConnection) -> Result<(), OpenError> {
    let mut transaction = connection.begin_with(BEGIN).await?;
    let found = applied(&mut transaction).await?;
    for (at, sql) in MIGRATIONS.iter().enumerate().skip(found) {
        sqlx::raw_sql(*sql).execute(&mut *transaction).await?;
        let version = i32::try_from(at + 1).unwrap_or(i32::MAX);
        sqlx::query("INSERT INTO engram_migrations (version) VALUES ($1)")
            .bind(version)
            .execute(&mut *transaction)
            .await?;
    }
    if found < MIGRATIONS.len() {
        digests::fill(&mut transaction).await?;
    }
    transaction.commit().await?;
    Ok(())
}

/// Refuses a database that no server has brought to this version.
pub(super) async fn check(connection: &mut PgConnection) -> Result<(), OpenError> {
    let sql = "SELECT to_regclass('engram_migrations') IS NOT NULL";
    if !sqlx::query(sql).fetch_one(&mut *connection).await?.try_get::<bool, _>(0)? {
        return Err(OpenError::Missing);
    }
    let found = applied(connection).await?;
    if found < MIGRATIONS.len() {
        return Err(OpenError::Older { found, known: MIGRATIONS.len() });
    }
    Ok(())
}

async fn applied(connection: &mut PgConnection) -> Result<usize, OpenError> {
    let sql = "SELECT coalesce(max(version), 0) FROM engram_migrations";
    let found: i32 = sqlx::query(sql).fetch_one(connection).await?.try_get(0)?;
    let found = usize::try_from(found).unwrap_or(usize::MAX);
    if found > MIGRATIONS.len() {
        return Err(OpenError::Newer { found, known: MIGRATIONS.len() });
    }
    Ok(found)
}

/// Returns the uuid of the data set, made on the first start (CUR-3).
pub(super) async fn cloud_id(connection: &mut PgConnection) -> Result<String, OpenError> {
    let made = uuid::Uuid::new_v4().to_string();
    sqlx::query("INSERT INTO engram_meta (name, value) VALUES ('cloud_id', $1) ON CONFLICT DO NOTHING")
        .bind(made)
        .execute(&mut *connection)
        .await?;
    let sql = "SELECT value FROM engram_meta WHERE name = 'cloud_id'";
    Ok(sqlx::query(sql).fetch_one(connection).await?.try_get(0)?)
}
