"""The worker's commands as people use them: whom they name stands in files, never in arguments."""

from __future__ import annotations

import csv
import io
import json
from typing import TYPE_CHECKING

from tests.privacy.scene import soon

if TYPE_CHECKING:
    from tests.privacy.canaries import Canary
    from tests.privacy.scene import Ground


def of_people(ground: Ground) -> None:
    """Submit, check, look up, reconcile: with people that pass the checks and that do not."""
    given = ground.scene.root / "given"
    people = [ground.scene.aviary.hatch(f"commanded-{number}") for number in range(14)]
    one, broken, *many = people
    _write(ground, "one.json", json.dumps(one.request(3), ensure_ascii=False))
    _write(ground, "broken.json", json.dumps(broken.request(0), ensure_ascii=False)[:-3])
    _write(ground, "people.csv", _table(many[:4], wrong=many[4]))
    _write(ground, "headless.csv", _table(many[5:7], wrong=many[7]).partition("\n")[2])
    _write(ground, "people.jsonl", _lines(many[8:10], wrong=many[10]))
    (given / "other.csv").write_bytes(_table(many[11:12], wrong=one).encode("gb18030"))
    expected = {
        ("submit", "one.json"): 0,
        ("submit", "broken.json"): 2,
        ("submit", "people.csv", "--results", "results.csv"): 1,
        ("submit", "headless.csv"): 2,
        ("submit", "other.csv"): 2,
        ("submit", "people.jsonl"): 1,
        ("contract", "validate", "people.jsonl"): 1,
        ("contract", "validate", "broken.json"): 1,
        ("explain", one.label): 0,
        ("explain", one.label, "--json"): 0,
        ("status",): 0,
        ("status", "--json"): 0,
        ("outbox", "list", "--json"): 0,
        ("check-config",): 0,
    }
    for arguments, code in expected.items():
        found = [str(given / each) if (given / each).exists() else each for each in arguments]
        _expect(ground, code, *found)
    _expect(ground, 0, "digest", given=f"{one.id_card}\n")
    _expect(ground, 2, "digest", given=f"{broken.id_card[:-1]}\n{broken.name}\n")
    _expect(ground, 2, "submit", "-", given=f"{broken.name} {broken.id_card}")
    _expect(ground, 0, "erase", "--yes", "--json", given=f"{one.id_card}\n")
    _expect(ground, 2, "erase", "--yes", given=f"{broken.id_card[:-1]}\n{broken.name}\n")
    _write(ground, "invoice.csv", _invoice(ground, many))
    reconcile = ("reconcile", str(given / "invoice.csv"))
    _expect(ground, 1, *reconcile)
    _expect(ground, 1, *reconcile, "--json")
    _expect(ground, 2, *reconcile, "--column-time", "when")
    _expect(ground, 0, "retention", "--json", CLEAR_AFTER_DAYS="1", DELETE_AFTER_DAYS="20")


def of_dead_letters(ground: Ground) -> None:
    """List, show, replay and drop dead letters about people."""
    _expect(ground, 0, "dead-letters", "list")
    listed = _expect(ground, 0, "dead-letters", "list", "--json")
    known = next(
        name for row in json.loads(listed) if (name := row["message_id"]) == "unreadable-0"
    )
    _expect(ground, 0, "dead-letters", "show", known)
    _expect(ground, 0, "dead-letters", "show", known, "--json")
    _expect(ground, 1, "dead-letters", "show", "nobody")
    _expect(ground, 2, "dead-letters", "replay")
    _expect(ground, 0, "dead-letters", "replay", "--dry-run", "--json")
    _expect(ground, 0, "dead-letters", "replay", "--yes", "--limit", "9", "--json")
    soon(lambda: ground.depth("verification.requests") == 0)
    _expect(ground, 0, "dead-letters", "drop", "--yes", "--reason", "not_json", "--json")


def submit_encrypted(ground: Ground, name: str, people: list[Canary]) -> str:
    """Make keys whose public ones are a file of this name, submit people to them, return them."""
    keys = _expect(ground, 0, "message-keys", "generate")
    _write(ground, name, _expect(ground, 0, "message-keys", "public", MESSAGE_KEYS=keys))
    lines = [json.dumps(each.request(number)) for number, each in enumerate(people)]
    _write(ground, f"{name}l", "\n".join(lines))
    public, file = (str(ground.scene.root / "given" / each) for each in (name, f"{name}l"))
    _expect(ground, 0, "submit", file, "--encrypt-to", public, "--timeout", "0")
    return keys


def _expect(ground: Ground, code: int, *arguments: str, given: str = "", **settings: str) -> str:
    """Run a command, check how it ends, and return what it prints."""
    while True:
        job = ground.order(*arguments, given=given, **settings)
        told = job.err.read_text()
        # A busy broker counts the consumer of the command before, or of this one's first look.
        if "another tool holds the dead letters" not in told:
            break
    assert job.popen.returncode == code, f"{arguments[:2]}: {told}"
    assert "Traceback" not in told, arguments[:2]
    return job.out.read_text()


def _write(ground: Ground, name: str, text: str) -> None:
    (ground.scene.root / "given" / name).write_text(text, encoding="utf-8")


def _table(people: list[Canary], wrong: Canary) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["requestId", "checkType", "name", "idCard", "bankcard", "mobile"])
    for each in people:
        writer.writerow([each.label, 0, each.name, each.id_card, each.bankcard, each.mobile])
    writer.writerow([wrong.label, 2, wrong.id_card, wrong.name])
    writer.writerow([wrong.label, 0, wrong.name, wrong.mobile, wrong.id_card, wrong.bankcard])
    return text.getvalue()


def _lines(people: list[Canary], wrong: Canary) -> str:
    lines = [json.dumps(each.request(4), ensure_ascii=False) for each in people]
    lines += [f"{wrong.name} {wrong.id_card}", json.dumps([wrong.user(0)], ensure_ascii=False)]
    lines += [json.dumps({**wrong.request(0), wrong.name: wrong.mobile, wrong.mobile: 1})]
    return "\n".join(lines)


def _invoice(ground: Ground, people: list[Canary]) -> str:
    """Return an invoice that names people where it should name calls, too."""
    query = (
        "SELECT provider_request_id, started_at FROM verification_v1.calls WHERE request_id = %s"
    )
    (call,) = ground.rows(query, "commanded-0")
    time = call["started_at"].isoformat()
    lines = ["requestId,time,person", f"{call['provider_request_id']},{time},{people[0].name}"]
    for each in people:
        lines += [f"{each.id_card},{time},{each.name}", f"{each.name},{each.mobile},x"]
        lines += [f"{each.bankcard},{each.id_card},{each.name},{each.mobile}"]
    return "\n".join(lines) + "\n"
