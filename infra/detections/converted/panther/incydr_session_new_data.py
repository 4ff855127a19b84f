def rule(event):
    return any(value is not None and str(value).lower() == 'open_new_data' for value in [item.get("state") for item in event.deep_get("states", default=[]) or []])


def title(event):
    return 'Session with new data after somebody had looked at it'


def dedup(event):
    return str(event.deep_get("sessionId"))
