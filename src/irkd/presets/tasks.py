"""`tasks:` of a preset: what differs from task to task.

Each entry is a part of a preset that is laid over the body when its task is chosen, by the body's
own `task:` or by `--task`. A resolved preset has one task and no such section any more.
"""

from __future__ import annotations

from typing import Any, get_args

from irkd.errors import IrkdError
from irkd.presets.merge import merge
from irkd.presets.schema import Task
from irkd.registry import suggestion

# What may differ between the tasks of one preset.
PARTS = (
    "title",
    "teacher",
    "student",
    "methods",
    "data",
    "training",
    "evaluation",
    "reported",
    "releases",
)


def task_names(content: dict[str, Any]) -> list[str]:
    """The tasks that a preset has settings for, its own first."""
    own = content.get("task")
    names = [own] if isinstance(own, str) else []
    tasks = content.get("tasks")
    return list(dict.fromkeys([*names, *(tasks if isinstance(tasks, dict) else [])]))


def choose_task(content: dict[str, Any], task: str | None, what: str) -> dict[str, Any]:
    """The preset `content` for `task`, or for its own: that task's part laid over the body.

    A part's `reported` figures are added to the body's; everything else follows `merge`. Raises
    IrkdError for a `tasks` section that is none, and for a task that it does not list.
    """
    content = dict(content)
    tasks = content.pop("tasks", None)
    if task is not None:
        content["task"] = task
    if tasks is None:
        return content
    _check(tasks, what)
    chosen = content.get("task")
    if chosen not in tasks:
        hint = suggestion(str(chosen), tasks)
        raise IrkdError(
            f"preset {what} has no settings for task {chosen!r}.{hint} It has:"
            f" {', '.join(tasks)}. For another, write a preset that extends it and lists the task"
            " under its own tasks."
        )
    part = dict(tasks[chosen] or {})
    reported = [*_list(content.get("reported")), *_list(part.pop("reported", None))]
    content = merge(content, part)
    if reported:
        content["reported"] = reported
    return content


def inherited_tasks(parent: dict[str, Any], child: dict[str, Any]) -> dict[str, Any]:
    """The `parent` of an extending preset, without what its tasks say of what the child replaces.

    That is their reported figures, and the settings (and releases) of a network in whose place the
    child puts one of another family.
    """
    parent = dict(parent)
    dropped = {"reported"}
    for role in ("teacher", "student"):
        before, after = parent.get(role), child.get(role, {})
        arch = before.get("arch") if isinstance(before, dict) else None
        if not isinstance(after, dict) or after.get("arch", arch) != arch:
            dropped |= {role, "releases"} if role == "teacher" else {role}
    if "releases" in dropped:
        parent.pop("releases", None)
    if isinstance(parent.get("tasks"), dict):
        parent["tasks"] = {
            task: {key: value for key, value in part.items() if key not in dropped}
            if isinstance(part, dict)
            else part
            for task, part in parent["tasks"].items()
        }
    return parent


def _check(tasks: Any, what: str) -> None:
    if not isinstance(tasks, dict) or not tasks:
        raise IrkdError(
            f"preset {what}: tasks maps tasks to what differs for them, such as"
            " {denoise: {teacher: {LayerNorm_type: BiasFree}}}."
        )
    known = get_args(Task)
    for task, part in tasks.items():
        if task not in known:
            hint = suggestion(str(task), known)
            raise IrkdError(
                f"preset {what}: tasks.{task} is no task.{hint} Known: {', '.join(known)}."
            )
        if part is not None and not isinstance(part, dict):
            raise IrkdError(f"preset {what}: tasks.{task} is a mapping of sections, not {part!r}.")
        for key in part or {}:
            if key not in PARTS:
                hint = suggestion(str(key), PARTS)
                raise IrkdError(
                    f"preset {what}: unknown key 'tasks.{task}.{key}'.{hint} Known:"
                    f" {', '.join(PARTS)}."
                )


def _list(value: Any) -> list[Any]:
    """A value that is no list is left for validation to refuse."""
    if value is None:
        return []
    return value if isinstance(value, list) else [value]
