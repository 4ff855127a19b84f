def rule(event):
    return any(value is False for value in [event.deep_get("active")])


def title(event):
    return 'Agent deactivated'
