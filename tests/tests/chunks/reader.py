"""Reads a directory of chunks by the description of the format alone, with nothing but the standard library.

Refuses what a strict reader would refuse, and prints what it found as one JSON object: the state after every chunk was
applied in the order of the manifest, later rows over earlier ones, and the canonical dump of all of them merged.

A relation whose end no row tells as more than a delete is refused; with `--taken-back`, for where git took chunks away,
it is listed as untold.
"""

import gzip
import hashlib
import json
import pathlib
import re
import sys

ENTRY = {"id": str, "created_by": str, "created_at": str, "sessions": int, "memories": int, "prompts": int}
REQUIRED = {
    "sessions": ["id", "project", "directory", "started_at"],
    "observations": ["sync_id", "session_id", "type", "title", "content", "project", "scope", "created_at",
                     "updated_at"],
    "prompts": ["sync_id", "session_id", "content", "project", "created_at"],
}
UPSERT = {
    "session": ["id", "project", "directory"],
    "observation": ["sync_id", "session_id", "type", "title", "content", "scope", "project"],
    "prompt": ["sync_id", "session_id", "content", "project"],
    "relation": ["sync_id", "source_id", "target_id", "relation", "judgment_status", "project"],
}
NEVER = "1970-01-01 00:00:00"
NOWHERE = "(recovered-missing-session)"
TIME = re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d")


def require(condition, what):
    if not condition:
        sys.exit("refused: " + what)


def texts(row, names, where):
    for name in names:
        require(isinstance(row.get(name), str) and row[name].strip(), f"{where} has no {name}")
    for name, value in row.items():
        if name.endswith("_at") and value:
            require(TIME.fullmatch(value), f"{where} has the time {name} {value!r}")


def filled(row):
    return {name: value for name, value in row.items() if value not in (None, "", [], {})}


def digest(row):
    text = json.dumps(filled(row), sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()


def time(row, name):
    """The smallest time, and one that is not there, is the empty text."""
    text = row.get(name) or ""
    return "" if text == NEVER else text


def least(times):
    return min((time for time in times if time), default="")


class Entity:
    """All that is said of one entity, merged by the rules of merging.md."""

    def __init__(self, kind, project, key):
        self.kind, self.project, self.key, self.said = kind, project, key, []

    def take(self, op, row):
        self.said.append((op, row))

    def winner(self, key_of):
        return max(((key_of(op, row), row) for op, row in self.said), key=lambda one: one[0])

    def lines(self, children):
        """Its line in the dump, if it has one."""
        line = getattr(self, self.kind)(children)
        if line is not None:
            yield {**filled(line), "entity": self.kind, "key": self.key}

    def live(self, row, names, **more):
        row = {name: row.get(name) for name in names}
        return {**row, "sync_id": self.key, "project": self.project, **more}

    def observation(self, _):
        def key_of(op, row):
            if is_delete(op, row):
                kind = 2 if row.get("hard_delete") else 1
                return time(row, "deleted_at"), kind, 0, digest({"session_id": row.get("session_id"), "deleted": True})
            fields = ["session_id", "type", "title", "content", "tool_name", "scope", "topic_key"]
            revision = row.get("revision_count") or 1
            said = {**{name: row.get(name) for name in fields}, "revision_count": revision}
            return time(row, "updated_at"), 0, revision, digest(said)

        (at, kind, revision, _), row = self.winner(key_of)
        if kind:
            return {"deleted": "hard" if kind == 2 else "yes", "deleted_at": at or NEVER}
        rows = [row for _, row in self.said]
        return self.live(
            row,
            ["session_id", "type", "title", "content", "tool_name", "scope", "topic_key"],
            revision_count=revision,
            duplicate_count=max(row.get("duplicate_count") or 0 for row in rows) or None,
            last_seen_at=max(time(row, "last_seen_at") for row in rows),
            created_at=least(time(row, "created_at") for row in rows) or NEVER,
            updated_at=at or NEVER,
        )

    def prompt(self, _):
        def key_of(op, row):
            session_id = row.get("session_id")
            if is_delete(op, row):
                return True, time(row, "deleted_at"), digest({"session_id": session_id, "deleted": True})
            return False, time(row, "created_at"), digest({"session_id": session_id, "content": row.get("content")})

        (deleted, at, _), row = self.winner(key_of)
        if deleted:
            return {"deleted": "yes", "deleted_at": at or NEVER}
        return self.live(row, ["session_id", "content"], created_at=at or NEVER)

    def relation(self, _):
        fields = ["source_id", "target_id", "relation", "reason", "evidence", "confidence", "judgment_status",
                  "marked_by_actor", "marked_by_kind", "marked_by_model", "session_id"]

        def key_of(_, row):
            judged = row["judgment_status"].strip() not in ("", "pending")
            return judged, time(row, "updated_at"), digest({name: row.get(name) for name in fields})

        (judged, at, _), row = self.winner(key_of)
        if not judged:
            return None
        created_at = least(time(row, "created_at") for _, row in self.said) or NEVER
        return self.live(row, fields, created_at=created_at, updated_at=at or NEVER)

    def session(self, children):
        def register(row, text, at):
            said = {text: (row.get(text) or "").strip() and row[text], at: time(row, at)}
            said[text] = "" if said[text] == NOWHERE else said[text]
            return said[text] != "", said[at], digest(said), said[text]

        rows = [{} if op == "delete" else row for op, row in self.said]
        start = max(register(row, "directory", "started_at") for row in rows)
        end = max(register(row, "summary", "ended_at") for row in rows)
        deleted_at = max(time(row, "deleted_at") for _, row in self.said)
        if not (start[0] or end[0]):
            return None
        if deleted_at and deleted_at >= start[1] and not (self.project, self.key) in children:
            return {"deleted": "yes", "deleted_at": deleted_at}
        return {"id": self.key, "project": self.project, "directory": start[3] or NOWHERE,
                "started_at": start[1] or NEVER, "ended_at": end[1], "summary": end[3], "deleted_at": deleted_at}


def is_delete(op, row):
    return op == "delete" or row.get("deleted") is True or bool(time(row, "deleted_at"))


def dump(entities):
    """The dump of each project: sessions last, for one that has a memory is not deleted."""
    lines, children = {}, set()
    for entity in sorted(entities, key=lambda entity: entity.kind == "session"):
        for line in entity.lines(children):
            lines.setdefault(entity.project, []).append(line)
            if line.get("deleted") != "hard" and (entity.kind == "observation" or "deleted" not in line):
                children.update((entity.project, row.get("session_id")) for _, row in entity.said)
    return lines


def main(place, taken_back):
    text = (place / "manifest.json").read_text(encoding="utf-8")
    manifest = json.loads(text)
    require(manifest["version"] == 1, "the manifest's version")
    require(text == json.dumps(manifest, indent=2, ensure_ascii=False), "the manifest's form")
    ids = [entry["id"] for entry in manifest["chunks"]]
    require(len(ids) == len(set(ids)), "a chunk is listed twice")
    files = {path.name for path in (place / "chunks").iterdir()}
    require(files == {f"{name}.jsonl.gz" for name in ids}, f"the files {sorted(files)} are not those listed")

    state = {name: {} for name in ("sessions", "observations", "prompts", "relations")}
    entities, told = {}, set()

    def take(kind, op, project, key, row):
        entities.setdefault((kind, project, key), Entity(kind, project, key)).take(op, row)
        if kind == "observation" and not is_delete(op, row):
            told.add(key)

    lists = {"session": "sessions", "observation": "observations", "prompt": "prompts", "relation": "relations"}
    for entry in manifest["chunks"]:
        for name, kind in ENTRY.items():
            require(isinstance(entry[name], kind), f"entry {entry['id']} has no {name}")
        require(re.fullmatch(r"[0-9a-f]{8,64}", entry["id"]), "an id")
        require(re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", entry["created_at"]), "a time in the manifest")
        raw = gzip.decompress((place / "chunks" / f"{entry['id']}.jsonl.gz").read_bytes())
        require(hashlib.sha256(raw).hexdigest().startswith(entry["id"]), f"chunk {entry['id']} has another content")
        chunk = json.loads(raw)
        require(set(chunk) <= {"sessions", "observations", "prompts", "mutations"}, "a list that is none")
        for name, count in (("sessions", "sessions"), ("observations", "memories"), ("prompts", "prompts")):
            rows = chunk[name] or []
            require(len(rows) == entry[count], f"chunk {entry['id']} has {len(rows)} {name}, not {entry[count]}")
            for row in rows:
                texts(row, REQUIRED[name], f"{name} of {entry['id']}")
                key = row.get("sync_id") or row["id"]
                state[name][key] = row
                take(name.removesuffix("s"), "upsert", row["project"], key, row)
        for row in chunk.get("mutations") or []:
            where = f"mutation {row['entity']} {row['entity_key']} of {entry['id']}"
            require(row["op"] in ("upsert", "delete") and isinstance(row["payload"], str), where)
            payload = json.loads(row["payload"])
            key = payload.get("sync_id") or payload.get("id")
            require(key == row["entity_key"] and payload["project"] == row["project"], where)
            known = state[lists[row["entity"]]]
            take(row["entity"], row["op"], row["project"], key, payload)
            if row["op"] == "upsert":
                texts(payload, UPSERT[row["entity"]], where)
                known[key] = payload
                continue
            require(row["entity"] != "relation", where + " deletes a relation")
            known[key] = {"deleted": True, "hard": bool(payload.get("hard_delete"))}

    kept = {key for key, row in state["observations"].items() if not row.get("hard")}
    for key, row in state["relations"].items():
        ends = {row["source_id"], row["target_id"]}
        require(taken_back or ends <= told, f"relation {key} has an end that nothing tells: {sorted(ends - told)}")
    state["dangling"] = sorted(
        key for key, row in state["relations"].items() if not {row["source_id"], row["target_id"]} <= kept
    )
    state["told"] = sorted(told)
    state["dump"] = dump(entities.values())
    json.dump(state, sys.stdout)


main(pathlib.Path(sys.argv[1]), "--taken-back" in sys.argv[2:])
