def rule(event):
    return all([any(isinstance(value, (int, float)) and value >= 1073741824 for value in [event.deep_get("file", "sizeInBytes")]), any(value is False for value in [event.deep_get("risk", "trusted")]), any([any(value is not None and str(value).lower() == 'low' for value in [event.deep_get("risk", "severity")]), any(value is not None and str(value).lower() == 'moderate' for value in [event.deep_get("risk", "severity")]), any(value is not None and str(value).lower() == 'high' for value in [event.deep_get("risk", "severity")]), any(value is not None and str(value).lower() == 'critical' for value in [event.deep_get("risk", "severity")])])])


def title(event):
    return 'Very large file to an untrusted place'


def dedup(event):
    return str(event.deep_get("event", "id"))
