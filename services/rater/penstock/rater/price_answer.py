"""What a price makes of what was used: the exact and the rounded amount, with an explanation that replays alone."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import Any, NamedTuple

from penstock.kernel.money import round_to_step
from penstock.kernel.problems import Unprocessable
from penstock.kernel.quantity import exact, to_text
from penstock.rater.price_body import plain, price_view
from penstock.rater.price_request import Question, question_of
from penstock.rater.pricing.catalogue import reads_of
from penstock.rater.pricing.models import amount_from, amount_of
from penstock.rater.pricing.priced import Priced
from penstock.web.exact_json import decode_exact

ROUNDING_MODE = "half away from zero"


class Answer(NamedTuple):
    """`amount` is `priced.amount`, rounded to the unit's step."""

    question: Question
    priced: Priced
    amount: Decimal


def price_anything(body: bytes) -> Answer:
    """The answer to a request, or to an explanation, in JSON. Raise a `Problem` that names the field."""
    return answer(decode_exact(body))


def replay(explanation: Mapping[str, Any]) -> Decimal:
    """The amount that `explanation` comes to, read again from nothing but it.

    Raise `Unprocessable` naming `parts` or `rounding` where they are not what its price makes of what was used.
    """
    return answer(dict(explanation)).amount


@exact
def answer(asked: Any) -> Answer:
    """The answer to a request or an explanation as plain objects in which no number is binary."""
    question = question_of(asked)
    priced = _priced(question)
    answer = Answer(question, priced, round_to_step(priced.amount, question.price.unit))
    for name, now in (("parts", parts_of(answer)), ("rounding", rounding_of(answer))):
        told = getattr(question, name)
        if told is not None and told != now:
            raise Unprocessable(f"these {name} are not what the price makes of what was used", field=name)
    return answer


def _priced(question: Question) -> Priced:
    try:
        if question.before is None:
            return amount_of(question.price, question.used)
        return amount_from(question.before, question.before.plus(question.used), question.price)
    except ValueError as exc:
        [given] = [name for name in question.given.__struct_fields__ if getattr(question.given, name) is not None]
        wanted = reads_of(question.price) or given
        why = str(exc) if wanted == given else f"{_model(question)} reads {wanted}, but only {given} is given: {exc}"
        raise Unprocessable(why, field=wanted) from exc


def _model(question: Question) -> str:
    return str(question.price.__struct_config__.tag)


@exact
def view(answer: Answer) -> dict[str, Any]:
    """The answer as the API writes it: every number a decimal string."""
    currency, before = plain(answer.question.currency), answer.question.given_before
    return {
        "amount": format(answer.amount, "f"),
        "exact": to_text(answer.priced.amount),
        "currency": currency,
        "explanation": {
            "price": price_view(answer.question.price),
            "currency": currency,
            **({} if before is None else {"before": plain(before)}),
            "used": plain(answer.question.given),
            "parts": parts_of(answer),
            "rounding": rounding_of(answer),
        },
    }


def parts_of(answer: Answer) -> list[dict[str, Any]]:
    return [plain(part) for part in answer.priced.parts]


def rounding_of(answer: Answer) -> dict[str, str]:
    """`difference` is what rounding added."""
    step, difference = answer.question.price.unit.step, answer.amount - answer.priced.amount
    return {"step": format(step, "f"), "mode": ROUNDING_MODE, "difference": to_text(difference)}
