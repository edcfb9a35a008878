"""What Schemathesis is told of this API that JSON Schema cannot say.

Valid requests are mended so that they are valid in these respects too; where validity depends on what was done before,
a refusal is let pass by its pointer and detail. Every rule here stands in the document as prose.
"""

from __future__ import annotations

import itertools
import json
import os
import re
from typing import Any

import jsonschema_rs
import requests
import schemathesis
import schemathesis.specs.openapi.stateful as stateful
from schemathesis import Case, CheckContext, HookContext, Response
from schemathesis.core import NotSet
from schemathesis.core.failures import AcceptedNegativeData, Failure
from schemathesis.core.parameters import ParameterLocation
from schemathesis.generation.meta import TestPhase
from schemathesis.openapi.checks import RejectedPositiveData
from schemathesis.schemas import APIOperation

NAME_BYTES_MAX = 64
TEXT_BYTES_MAX = 255
LABEL_BYTES_MAX = 32
NAMES = ("customer", "sku")
TEXTS = ("name", "reference", "reason")

# What a request may be refused for that is valid by its schema: pointer and detail, by call.
POOL = r"(must be one of the item's pools|is required).*"
TOO_LATE = (r"/late_confirm_seconds", r"must be at most \d+, because a reservation leaves memory .*")
NOT_THERE = (r"/lines", r"must ask for at most \d+ units of .*")
GROUPS = [
    (r"/lines", r"must have one line, because .* is sold to groups: .*"),
    (
        r"/group",
        r"must be (left out: (none of these items|this item) is (not )?sold to groups"
        r"|a group of the item that the line asks for)",
    ),
]
MORE_OF_GROUP = (r"/lines", r"must not ask for more units of an item that is sold to groups: .*")
NEW_NAME = (r"/(tier|channel)", r"is new, and the service already knows .*")
REFUSALS_BY_STATE = {
    "putSale": [
        (r"/items", r"must still have the (item|pool) .*|the item .* must still have the pool .*"),
        NEW_NAME,
        TOO_LATE,
    ],
    "confirmReservation": [NOT_THERE],
    "cancelReservation": [NOT_THERE],
    "adjustStock": [(r"/delta", r"must not raise the item's stock above \d+ units"), (r"/pool", POOL)],
    "adjustStockOfMany": [
        (r"/adjustments/\d+/delta", r"must not raise the item's stock above \d+ units"),
        (r"/adjustments/\d+/pool", POOL),
    ],
    "transferStock": [(r"/(from|to)", POOL), (r"/to", r"must be another pool .*")],
    "reserve": [NEW_NAME, *GROUPS],
    "changeReservation": [*GROUPS, MORE_OF_GROUP],
    "joinWaitlist": [NEW_NAME],
    # What a patch is merged into decides what else it needs.
    "patchSale": [
        TOO_LATE,
        (r"/items/\d+/(initial_stock|price/(amount|currency))", r"is required and must .*"),
        (r"/rate_limits/\w+/(requests|window_seconds)", r"is required and must .*"),
        (r"/items/\d+/group/(size|seconds)", r"is required and must .*"),
        (r"/waitlist/(entries_max|entry_seconds)", r"is required and must .*"),
        (r"/items/\d+/sku", r"appears twice in this patch; remove one"),
        (r"/items/\d+/initial_stock", r"must be \d+, the sum of its pools' initial_stock"),
        (r"/items", r"must still have the (item|pool) .*|the item .* must still have the pool .*"),
        (r"/phases/\d+/(opens_at|closes_at)", r"must be (from|after) .*"),
        (r"/closes_at", r"must be after opens_at, which is .*"),
    ],
    # A cursor is opaque: only one that was told is valid.
    "followEvents": [(r"/(after|Last-Event-ID)", r"must be 0 for the beginning, or a cursor that .*")],
    "followEventsHead": [],
    "listAuditRecords": [(r"/before", r"must be the next of a page, .*")],
    "listAuditRecordsHead": [],
}

# Schemathesis begins walks with a POST, or a GET of a list. Here everything begins with a PUT.
assert callable(stateful.is_likely_root_transition)
stateful.is_likely_root_transition = lambda operation, *_: operation_id(operation) in ROOTS
ROOTS = ("putSale", "listSales", "listAuditRecords", "followEvents", "listWebhooks")


@schemathesis.hook
def before_load_schema(context: HookContext, raw_schema: dict[str, Any]) -> None:
    """The body of a link is the whole body, as OpenAPI has it; Schemathesis would mix it with another."""
    for item in raw_schema["paths"].values():
        for operation in item.values():
            for response in operation.get("responses", {}).values() if isinstance(operation, dict) else ():
                for link in response.get("links", {}).values():
                    link["x-schemathesis"] = {"merge_body": False}
                    if link["operationId"] == "patchSale":
                        # Schemathesis cannot send a link's body that has two media types; `before_call` makes it.
                        link.pop("requestBody", None)


sale_numbers = itertools.count()


@schemathesis.hook
def before_call(context: HookContext, case: Case, kwargs: dict[str, Any]) -> None:
    if case.meta is None:
        return
    if case.meta.phase.name != TestPhase.STATEFUL and not case.meta.is_negative_at(ParameterLocation.PATH):
        lead_somewhere(case)
    if not case.meta.generation.mode.is_positive:
        return
    case.body = mend(case.body)
    if "sku" in case.path_parameters:
        case.path_parameters["sku"] = cut(case.path_parameters["sku"], NAME_BYTES_MAX)
    if operation_id(case.operation) == "putSale" and isinstance(case.body, dict):
        if case.meta.phase.name == TestPhase.STATEFUL:
            begin_walk(case)
            return
        mend_settings(case.body, case.path_parameters["sale"])
    if operation_id(case.operation) == "patchSale" and isinstance(case.body, dict):
        case.body.pop("id", None)
        mend_rules(case.body)
        if case.meta.phase.name == TestPhase.STATEFUL:
            # Whatever the sale is, this can be changed.
            case.body = {"hold_seconds": 300}
    if isinstance(case.body, dict) and "sale" in case.path_parameters and len(json.dumps(case.body)) % 4:
        # Most changes are on no condition, as most conditions do not hold.
        for name in ("If-Match", "If-None-Match"):
            case.headers.pop(name, None)
    if operation_id(case.operation) == "cancelReservation" and isinstance(case.body, dict) and "lines" in case.body:
        # A part needs a key.
        case.headers.setdefault("Idempotency-Key", f"cancel-{next(sale_numbers)}")
    if isinstance(case.query.get("customer"), str):
        case.query["customer"] = cut(case.query["customer"], NAME_BYTES_MAX)
    if operation_id(case.operation) == "listAuditRecords" and case.meta.phase.name == TestPhase.STATEFUL:
        # Pages that have a next one.
        case.query["limit"] = 1
        case.query.pop("sale", None)
    if operation_id(case.operation) == "followEvents" and case.meta.phase.name == TestPhase.STATEFUL:
        # From the beginning there is something to read at once.
        case.query.setdefault("after", "0")
    if operation_id(case.operation) == "listSales" and case.meta.phase.name == TestPhase.STATEFUL:
        # Pages that have a next one.
        case.query["limit"] = 1
        if not str(case.query.get("after", "")).startswith("walk-"):
            case.query.pop("after", None)


def lead_somewhere(case: Case) -> None:
    """Most paths lead to a sale that is open and to a hold of it, so that the rest of the request matters."""
    path, operation = case.path_parameters, operation_id(case.operation)
    if "webhook" in path and not path["webhook"].startswith("0"):
        path["webhook"] = "orders"
    # One to confirm, one to release, one that stays held, and an entry of a waitlist.
    to_confirm, to_release, to_hold, waiting = os.environ["HELD"].split()
    if "entry" in path and not path["entry"].endswith("0"):
        path["entry"] = waiting
    if "id" in path and not path["id"].endswith("0"):
        path["id"] = {"confirmReservation": to_confirm, "releaseReservation": to_release}.get(operation, to_hold)
    if operation in ("putSale", "patchSale", "pauseSale", "resumeSale", "closeSale"):
        if path["sale"].startswith(os.environ["KEPT_SALE"]):
            path["sale"] = "doorbuster-tv"
    elif "sale" in path and not path["sale"].startswith("0"):
        path["sale"] = os.environ["KEPT_SALE"]
        if "sku" in path and path["sku"].isascii():
            path["sku"] = "tv-55"


def begin_walk(case: Case) -> None:
    """Begins with a sale of its own, so that the same steps lead to the same answers whatever other walks did.

    It has units for everybody; some sales were put before.
    """
    for member in ("customer_limit", "max_extensions", "rate_limits", "hold_budget", "late_confirm_seconds"):
        case.body.pop(member, None)
    case.body["waitlist"] = {"entries_max": 1_000, "entry_seconds": 3_600}
    # Everybody may buy, and the first item has the pools that links name.
    case.body.pop("phases", None)
    for item in case.body["items"]:
        for member in ("customer_limit", "pools", "sourcing", "split", "group"):
            item.pop(member, None)
        item["initial_stock"] = max(item["initial_stock"], 100)
    pools = [{"id": pool, "initial_stock": 1_000} for pool in ("default", "members")]
    case.body["items"][0] |= {"initial_stock": 2_000, "pools": pools}
    sale = f"walk-{os.environ['WALK']}-{next(sale_numbers)}"
    case.path_parameters["sale"] = sale
    mend_settings(case.body, sale)
    if len(case.body["name"]) % 3 == 0:
        answer = requests.put(f"{os.environ['API_URL']}/v1/sales/{sale}", json=case.body, timeout=10)
        assert answer.status_code == 201, answer.text


def operation_id(operation: APIOperation) -> str:
    return str(operation.definition.raw.get("operationId"))


def mend(value: Any, name: str = "") -> Any:
    """Integers without a fraction, texts that are short enough in bytes, and each SKU once."""
    if isinstance(value, dict) and name == "labels":
        return {label: cut(text, LABEL_BYTES_MAX) for label, text in value.items()}
    if isinstance(value, dict):
        return {member: mend(inner, member) for member, inner in value.items()}
    if isinstance(value, list):
        mended = [mend(inner) for inner in value]
        return once(mended) if name in ("lines", "items") else mended
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, str) and name in NAMES:
        return cut(value, NAME_BYTES_MAX)
    if isinstance(value, str) and name in TEXTS:
        return cut(value, TEXT_BYTES_MAX)
    return value


def cut(text: str, bytes_max: int) -> str:
    return text.encode()[:bytes_max].decode(errors="ignore")


def once(lines: list[Any]) -> list[Any]:
    """Lines of the same SKU are summed, and no sale has an item twice."""
    return list({line["sku"]: line for line in lines}.values())


def mend_settings(settings: dict[str, Any], sale: str) -> None:
    """A sale has the id of its path, and a window that ends after it begins; many are open now."""
    settings["id"] = sale
    ends_later = settings["opens_at"][:4] < settings["closes_at"][:4]
    if not ends_later or len(settings["name"]) % 2:
        settings["opens_at"], settings["closes_at"] = "2020-01-01T00:00:00Z", "2199-12-31T23:59:59.999Z"
    mend_rules(settings)
    for phase in settings.get("phases") or ():
        phase["opens_at"] = settings["opens_at"]
        phase.pop("closes_at", None)


def mend_rules(settings: dict[str, Any]) -> None:
    """Each phase and pool once, of one currency, and the stock of an item the sum of its pools'."""
    if settings.get("phases"):
        settings["phases"] = list({phase["name"]: phase for phase in settings["phases"]}.values())
    for item in settings.get("items") or ():
        if not item.get("pools"):
            continue
        item["pools"] = list({pool["id"]: pool for pool in item["pools"]}.values())
        for pool in item["pools"]:
            pool.pop("price", None)
            # The sum has a maximum too.
            pool["initial_stock"] = min(pool["initial_stock"], 1_000)
            if pool.get("tiers") is None and pool.get("channels") is None:
                pool.pop("shared_at", None)
        item["initial_stock"] = sum(pool["initial_stock"] for pool in item["pools"])


@schemathesis.check
def valid_entries_are_not_malformed(context: CheckContext, response: Response, case: Case) -> None:
    """What positive_data_acceptance is for the rest, for each entry of a batch."""
    is_valid = case.meta is not None and case.meta.generation.mode.is_positive
    if is_valid and operation_id(case.operation) == "reserveBatch" and response.status_code == 200:
        refused = [result["problem"] for result in response.json()["results"] if result["status"] == 400]
        malformed = [problem for problem in refused if not are_known("reserve", problem["errors"])]
        assert not malformed, f"valid entries are refused: {malformed}"


@schemathesis.hook
def filter_failure(context: HookContext, failure: Failure, case: Case, response: Response) -> bool:
    """Whether the failure is one."""
    if isinstance(failure, RejectedPositiveData) and response.status_code == 400:
        return not is_refusal_by_state(operation_id(case.operation), response)
    if isinstance(failure, AcceptedNegativeData) and is_only_left_out(case):
        return False
    if isinstance(failure, AcceptedNegativeData) and operation_id(case.operation) == "reserveBatch":
        return not are_refused_in_their_places(case, response)
    return True


def is_refusal_by_state(operation: str, response: Response) -> bool:
    if not response.content:
        # The answer to a HEAD does not say why.
        return operation in REFUSALS_BY_STATE
    return are_known(operation, response.json()["errors"])


def are_known(operation: str, errors: list[dict[str, str]]) -> bool:
    known = REFUSALS_BY_STATE.get(operation, [])
    return all(
        any(
            re.fullmatch(pointer, error["pointer"]) and re.fullmatch(detail, error["detail"])
            for pointer, detail in known
        )
        for error in errors
    )


def is_only_left_out(case: Case) -> bool:
    """A body that is optional may be left out, which Schemathesis takes for invalid."""
    optional = not case.operation.definition.raw.get("requestBody", {}).get("required", False)
    negative = [location for location, component in case.meta.components.items() if component.mode.is_negative]
    return optional and isinstance(case.body, NotSet) and negative == [ParameterLocation.BODY]


def are_refused_in_their_places(case: Case, response: Response) -> bool:
    """A batch is taken as it is, and each entry that is wrong is told so in its place."""
    entry = {"$ref": "#/components/schemas/BatchEntry", "components": case.operation.schema.raw_schema["components"]}
    validator = jsonschema_rs.Draft202012Validator(entry)
    entries, results = case.body["reservations"], response.json()["results"]
    wrong = [not validator.is_valid(entry) for entry in entries]
    refused = [result["status"] >= 400 for result in results]
    return any(wrong) and all(no for bad, no in zip(wrong, refused, strict=True) if bad)
