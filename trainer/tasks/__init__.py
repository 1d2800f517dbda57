"""Problems to train and evaluate on, and the one grader that rewards and evaluation share.

    load(data)                 the items of a configuration's data section
    settled(data, environment) the same section for a process in another folder
    grade(completion, gold)    is this completion's final answer right?
    Grader                     the same for many, with its own worker process
    GRADER_VERSION             changes whenever a verdict may change; stands beside whatever was graded

The rule for finding the final answer and the rule for comparing it stand in `trainer.tasks.answers`.
This package imports no torch.
"""

from trainer.tasks.grading import GRADER_VERSION, Grade, Grader, Grading, grade
from trainer.tasks.items import LONGEST_ID, Item
from trainer.tasks.sources import check, load, settled

__all__ = ["GRADER_VERSION", "LONGEST_ID", "Grade", "Grader", "Grading", "Item", "check", "grade", "load", "settled"]
