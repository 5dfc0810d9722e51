import json
import pickle

import pytest

from serving.client import errors


class TestOfStatus:
    @pytest.mark.parametrize(
        ("code", "text", "kind"),
        [
            ("NOT_FOUND", "Servable not found for request: Latest(intents)", errors.ModelNotFoundError),
            ("NOT_FOUND", "Servable not found for request: Specific(intents, 7)", errors.VersionNotFoundError),
            ("NOT_FOUND", "Could not find any versions of model intents", errors.ModelNotFoundError),
            ("NOT_FOUND", "Could not find version 7 of model intents", errors.VersionNotFoundError),
            ("NOT_FOUND", "something else", errors.NotFoundError),
            ("INVALID_ARGUMENT", "Unrecognized servable version label: canary", errors.LabelNotFoundError),
            ("FAILED_PRECONDITION", 'Serving signature key "sig" not found.', errors.SignatureNotFoundError),
            ("INVALID_ARGUMENT", "No signature was found with the name: sig", errors.SignatureNotFoundError),
            ("INVALID_ARGUMENT", "Requested signature not found in model graph: sig", errors.SignatureNotFoundError),
            (
                "INVALID_ARGUMENT",
                'Serving signature name: "sig" not found in signature def',
                errors.SignatureNotFoundError,
            ),
            ("INVALID_ARGUMENT", "tensor parsing error: x", errors.InvalidInputError),
            ("OUT_OF_RANGE", "no", errors.InvalidInputError),
            ("UNAVAILABLE", "failed to connect to all addresses", errors.UnavailableError),
            (
                "UNAVAILABLE",
                "The batch scheduling queue to which this task was submitted is full; currently 1 ...",
                errors.OverloadedError,
            ),
            ("RESOURCE_EXHAUSTED", "Run() timeout exceeded while waiting in batching queue", errors.OverloadedError),
            ("RESOURCE_EXHAUSTED", "CLIENT: Received message larger than max (5 vs. 4)", errors.MessageTooLargeError),
            ("UNAUTHENTICATED", "", errors.AccessDeniedError),
            ("PERMISSION_DENIED", "", errors.AccessDeniedError),
            ("DATA_LOSS", "", errors.ServerError),
            ("UNKNOWN", "Servable not loaded", errors.ServerError),
        ],
    )
    def test_kind(self, code, text, kind):
        error = errors.of_status(code, text)
        assert type(error) is kind
        assert (error.code, error.server_text) == (code, text)
        assert str(error) == (text or code)

    def test_a_text_that_quotes_another_does_not_pass_for_it(self):
        text = "cannot parse: Servable not found for request: Latest(intents)"
        assert type(errors.of_status("INVALID_ARGUMENT", text)) is errors.InvalidInputError

    def test_kinds_are_also_what_python_calls_them(self):
        assert issubclass(errors.DeadlineExceededError, TimeoutError)
        assert issubclass(errors.InvalidInputError, ValueError)
        assert issubclass(errors.ModelNotFoundError, LookupError)

    def test_survives_pickling(self):
        error = pickle.loads(pickle.dumps(errors.of_status("DEADLINE_EXCEEDED", "Deadline Exceeded")))
        assert (type(error), error.code, error.server_text) == (
            errors.DeadlineExceededError, "DEADLINE_EXCEEDED", "Deadline Exceeded",
        )  # fmt: skip
        assert str(error) == "Deadline Exceeded"


TEXTS = ["call me on +49 30 1234", 'she said "no"', "back\\slash\ttab", "où est-ce ?", "今天天气怎么样", "สวัสดี", "💡 an"]


def _as_c(text):
    return "".join(chr(b) if 32 <= b < 127 and b not in b"\\\"'" else f"\\{b:03o}" for b in text.encode())


class TestWithoutQuotations:
    @pytest.mark.parametrize("text", TEXTS)
    @pytest.mark.parametrize("shown", [str, _as_c, json.dumps, lambda text: json.dumps(text, ensure_ascii=False), repr])
    def test_takes_out_what_was_sent_in_any_notation(self, text, shown):
        cleaned = errors.without_quotations(f"In row 3: {shown(text)} is not a number", [text.encode()])
        assert cleaned.replace("'", "").replace('"', "") == "In row 3: [...] is not a number"

    def test_takes_out_short_words_only_where_they_stand_alone(self):
        cleaned = errors.without_quotations("tensor content of on is wrong: 'on'", [b"on"])
        assert cleaned == "tensor content of [...] is wrong: '[...]'"

    def test_leaves_other_texts_alone(self):
        text = "Matrix size-incompatible: In[0]: [2,4], In[1]: [3,2]\n\t [[{{node dense/MatMul}}]]"
        assert errors.without_quotations(text, [b"turn on the light", b"", b" "]) == text

    @pytest.mark.parametrize(
        ("text", "cleaned"),
        [
            (
                "Could not parse example input, value: '\n\\001 it's me'\n\t [[{{node ParseExample/ParseExample}}]]",
                "Could not parse example input, value: '[...]'\n\t [[{{node ParseExample/ParseExample}}]]",
            ),
            ("Could not parse example input, value: 'cut off...TRUNCATED", "Could not parse example input, value: '[...]"),
            (
                'JSON Value: "my name" Type: String is not of expected type: float',
                "JSON Value: [...] Type: String is not of expected type: float",
            ),
            (
                'Conversion of JSON Value: "my name" to type: DT_HALF is not supported',
                "Conversion of JSON Value: [...] to type: DT_HALF is not supported",
            ),
            (
                'JSON Value: "Type: b, not formatted correctly, and more" Type: String is not of expected type: float',
                "JSON Value: [...] Type: String is not of expected type: float",
            ),
            ('JSON Value: { "inputs": 3 } Is not object', "JSON Value: [...]"),
            ("JSON object: does not have named input: x", "JSON object: does not have named input: x"),
            (
                "Could not parse example input, value: 'a' [[b'\n\t [[{{node ParseExample}}]]",
                "Could not parse example input, value: '[...]'\n\t [[{{node ParseExample}}]]",
            ),
            (
                "StringToNumberOp could not correctly convert string: my name\n\t [[{{node StringToNumber}}]]",
                "StringToNumberOp could not correctly convert string: [...]\n\t [[{{node StringToNumber}}]]",
            ),
        ],
    )
    def test_knows_where_servers_quote(self, text, cleaned):
        assert errors.without_quotations(text, []) == cleaned
