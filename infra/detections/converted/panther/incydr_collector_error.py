def rule(event):
    return any(value is not None and str(value).lower() == 'error' for value in [event.deep_get("state")])


def title(event):
    return 'The collector fails to read a stream'
