"""What the service says about itself: OpenAPI 3.1 of the routes that are ours."""

from __future__ import annotations

import functools
import json
from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from serving import contracts, intent_answer, posted, profile_answer, recommend_answer, related_answer

_MODELS: tuple[type[BaseModel], ...] = (
    recommend_answer.RecommendRequest,
    recommend_answer.RecommendAnswer,
    posted.PostedEvent,
    posted.EventBatch,
    posted.EventsAnswer,
    intent_answer.IntentRequest,
    intent_answer.IntentAnswer,
    profile_answer.ProfileRequest,
    profile_answer.Profile,
    profile_answer.RefusedProfile,
    related_answer.RelatedRequest,
    related_answer.RelatedAnswer,
    contracts.ErrorAnswer,
)

_FIELD = {"422": "A field breaks its rule."}
_BODY = {
    **_FIELD,
    "400": "The body is not JSON.",
    "413": f"The body has more than {contracts.MAX_BODY} bytes.",
    "415": "The content type is not application/json.",
}
_NOT_NOW = {"503": "The service cannot answer now: no champion, or the state database cannot be used."}


@functools.cache
def openapi_document(description: str) -> bytes:
    """The document as JSON; ``description`` is the service's."""
    template = "#/components/schemas/{model}"
    _, schemas = models_json_schema([(model, "validation") for model in _MODELS], ref_template=template)
    known = schemas["$defs"]
    asked = known.pop("ProfileRequest")["properties"]["user_id"]
    document = {
        "openapi": "3.1.0",
        "info": {"title": "stellar", "version": "1", "description": description},
        "paths": {
            "/recommend": {
                "post": {
                    "summary": "Which items to show to a user.",
                    "requestBody": {"required": True, "content": _content("RecommendRequest")},
                    "responses": _responses(["RecommendAnswer"], _BODY | _NOT_NOW),
                }
            },
            "/events": {
                "post": {
                    "summary": "Record what users did: one event or many.",
                    "requestBody": {"required": True, "content": _content("PostedEvent", "EventBatch")},
                    "responses": _responses(
                        ["EventsAnswer"],
                        _BODY | _NOT_NOW | {"409": "An event id was used before for another event."},
                    ),
                }
            },
            "/intent": {
                "post": {
                    "summary": "What a user is about to do, with reasons.",
                    "requestBody": {"required": True, "content": _content("IntentRequest")},
                    "responses": _responses(
                        ["IntentAnswer"], _BODY | _NOT_NOW | {"404": "Nothing is known of this user."}
                    ),
                }
            },
            "/related": {
                "post": {
                    "summary": "What is bought together with an item or a cart, or complements it.",
                    "requestBody": {"required": True, "content": _content("RelatedRequest")},
                    "responses": _responses(["RelatedAnswer"], _BODY | _NOT_NOW | {"404": "No anchor is known."}),
                }
            },
            "/profile": {
                "get": {
                    "summary": "Everything known of one person, now.",
                    "parameters": [{"name": "user_id", "in": "query", "required": True, "schema": asked}],
                    "responses": _responses(
                        ["Profile", "RefusedProfile"], _FIELD | _NOT_NOW | {"404": "Nothing is known of this user."}
                    ),
                }
            },
        },
        "components": {"schemas": known},
    }
    return json.dumps(document).encode()


def _content(*names: str) -> dict[str, Any]:
    refs = [{"$ref": f"#/components/schemas/{name}"} for name in names]
    return {"application/json": {"schema": refs[0] if len(refs) == 1 else {"oneOf": refs}}}


def _responses(answers: list[str], refusals: dict[str, str]) -> dict[str, Any]:
    refused = {
        status: {"description": description, "content": _content("ErrorAnswer")}
        for status, description in sorted(refusals.items())
    }
    return {"200": {"description": "Answered.", "content": _content(*answers)}} | refused


__all__ = ["openapi_document"]
