def rule(event):
    return any(value == 4 for value in [item.get("severity") for item in event.deep_get("scores", default=[]) or []])


def title(event):
    return 'Session of severity 4'


def dedup(event):
    return str(event.deep_get("sessionId"))
