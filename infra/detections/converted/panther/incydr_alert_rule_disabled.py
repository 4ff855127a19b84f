def rule(event):
    return any(value is False for value in [event.deep_get("isEnabled")])


def title(event):
    return 'Alert rule that is disabled'
