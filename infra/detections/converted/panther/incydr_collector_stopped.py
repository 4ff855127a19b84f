def rule(event):
    return all([any(value is not None and str(value).lower() == 'stopped' for value in [event.deep_get("state")]), any(value is not None for value in [event.deep_get("error", "type")])])


def title(event):
    return 'The collector stopped'
