def rule(event):
    return any(value is not None and str(value).lower() == 'account_take_over' for value in [event.deep_get("type")])


def title(event):
    return 'Session of an account that may have been taken over'


def dedup(event):
    return str(event.deep_get("sessionId"))
