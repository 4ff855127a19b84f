def rule(event):
    return all([any(value is not None and str(value).lower() == 'file-printed' for value in [event.deep_get("event", "action")]), any([any(value is not None and str(value).lower() == 'high' for value in [event.deep_get("risk", "severity")]), any(value is not None and str(value).lower() == 'critical' for value in [event.deep_get("risk", "severity")])])])


def title(event):
    return 'File of high risk printed'


def dedup(event):
    return str(event.deep_get("event", "id"))
