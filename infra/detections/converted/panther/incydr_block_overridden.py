def rule(event):
    return any(value is not None for value in [event.deep_get("responseControls", "userJustification", "reason")])


def title(event):
    return 'A blocked transfer was justified and let through'


def dedup(event):
    return str(event.deep_get("event", "id"))
