"""What one may want to learn from a shop's log, and how much of what it takes: declared, so that it can be argued with.

Each need has two bounds: from the first on something can be learned, weakly; from the second on firmly. A bound that no
source names is a rule of thumb and says so.
"""

from features.card.questions import customers, ranking, trials
from features.card.questions.need import Question

#: Every question, in the order of the card.
QUESTIONS: tuple[Question, ...] = (*ranking.QUESTIONS, *customers.QUESTIONS, *trials.QUESTIONS)

__all__ = ["QUESTIONS"]
