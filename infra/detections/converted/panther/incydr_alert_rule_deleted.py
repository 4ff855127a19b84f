def rule(event):
    return all([any(value is True for value in [event.deep_get("_deleted")]), any(value is not None for value in [event.deep_get("id")])])


def title(event):
    return 'Alert rule deleted'
