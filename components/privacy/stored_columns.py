"""Which columns beside the texts are stored as they were written, and may hold personal data that somebody wrote there by mistake."""

from __future__ import annotations

from collections.abc import Collection

from tensorflow_metadata.proto.v0 import schema_pb2

from components.validation.schema_changes import domain_of
from serving.redaction.category_rule import CategoryRule


def categories(schema: schema_pb2.Schema, text: Collection[str], group: str | None) -> dict[str, CategoryRule]:
    """Returns the rules for columns that are no text: label, segments, group, inputs and whatever else is stored.

    Values of a column's domain were written down by whoever wrote the schema, and stay. The group's values are replaced as a whole, so
    that rows of one group are still rows of one group.

    Args:
      schema: Lists the stored columns.
      text: `data.text`.
      group: `data.group`.
    """
    stored = [feature for feature in schema.feature if feature.type == schema_pb2.BYTES and feature.name not in text]
    domains = {feature.name: domain_of(feature, schema) for feature in stored}
    return {
        name: CategoryRule(() if domain is None else tuple(domain.value), pseudonym=name == group)
        for name, domain in domains.items()
    }
