def rule(event):
    return any([any(value is not None and str(value).lower() == 'found' for value in [event.deep_get("contentInspectionResults", "status")]), any(value is not None and str(value).lower() == 'pii_found' for value in [event.deep_get("contentInspectionResults", "status")])])


def title(event):
    return 'Personal data found in the files of a session'


def dedup(event):
    return str(event.deep_get("sessionId"))
