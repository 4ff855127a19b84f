def rule(event):
    return all([any([any(value is not None and str(value).lower() == 'high' for value in [event.deep_get("risk", "severity")]), any(value is not None and str(value).lower() == 'critical' for value in [event.deep_get("risk", "severity")])]), any(value is False for value in [event.deep_get("risk", "trusted")])])


def title(event):
    return 'File event of high or critical risk to an untrusted place'


def dedup(event):
    return str(event.deep_get("event", "id"))
