def rule(event):
    return all([any(value is not None and str(value).lower() == 'sourcecode' for value in [event.deep_get("file", "category")]), any(value is False for value in [event.deep_get("risk", "trusted")]), any(value is not None and 'departing' in str(value).lower() for value in [item.get("name") for item in event.deep_get("risk", "indicators", default=[]) or []])])


def title(event):
    return 'A leaver moves source code to an untrusted place'


def dedup(event):
    return str(event.deep_get("event", "id"))
