"""Case records whose figures do not matter, for tests of what is done with records."""

from typing import Any

from stages.evaluate.case_record import CaseRecord

DEFAULTS = CaseRecord("render", "a-0", "a", "wide", (0, 2), (1,), 1.0, {}, {}, [], None)


def record(**figures: Any) -> CaseRecord:
    """A case record with some of its fields given."""
    return CaseRecord(**(vars(DEFAULTS) | figures))
