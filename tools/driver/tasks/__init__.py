"""What a model is for, and what a job does differently for that."""

from prunec.driver.tasks.find import task_named, task_of_config, task_of_program
from prunec.driver.tasks.task import Figure, Task, TaskError

__all__ = ["Figure", "Task", "TaskError", "task_named", "task_of_config", "task_of_program"]
