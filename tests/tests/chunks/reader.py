"""Reads a directory of chunks by the description of the format alone, with nothing but the standard library.

Refuses what a strict reader would refuse, and prints what it found as one JSON object: the state after every chunk was
applied in the order of the manifest, later rows over earlier ones.
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


def main(place):
    text = (place / "manifest.json").read_text(encoding="utf-8")
    manifest = json.loads(text)
    require(manifest["version"] == 1, "the manifest's version")
    require(text == json.dumps(manifest, indent=2, ensure_ascii=False), "the manifest's form")
    ids = [entry["id"] for entry in manifest["chunks"]]
    require(len(ids) == len(set(ids)), "a chunk is listed twice")
    files = {path.name for path in (place / "chunks").iterdir()}
    require(files == {f"{name}.jsonl.gz" for name in ids}, f"the files {sorted(files)} are not those listed")

    state = {name: {} for name in ("sessions", "observations", "prompts", "relations")}
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
                state[name][row.get("sync_id") or row["id"]] = row
        for row in chunk.get("mutations") or []:
            where = f"mutation {row['entity']} {row['entity_key']} of {entry['id']}"
            require(row["op"] in ("upsert", "delete") and isinstance(row["payload"], str), where)
            payload = json.loads(row["payload"])
            key = payload.get("sync_id") or payload.get("id")
            require(key == row["entity_key"] and payload["project"] == row["project"], where)
            known = state[lists[row["entity"]]]
            if row["op"] == "upsert":
                texts(payload, UPSERT[row["entity"]], where)
                known[key] = payload
                continue
            require(row["entity"] != "relation", where + " deletes a relation")
            known[key] = {"deleted": True, "hard": bool(payload.get("hard_delete"))}

    kept = {key for key, row in state["observations"].items() if not row.get("hard")}
    for key, row in state["relations"].items():
        require(row["source_id"] and row["target_id"], f"relation {key} has no ends")
    state["dangling"] = sorted(
        key for key, row in state["relations"].items() if not {row["source_id"], row["target_id"]} <= kept
    )
    json.dump(state, sys.stdout)


main(pathlib.Path(sys.argv[1]))
