def rule(event):
    return all([any(value is not None and 'mismatch' in str(value).lower() for value in [item.get("name") for item in event.deep_get("risk", "indicators", default=[]) or []]), any(value is False for value in [event.deep_get("risk", "trusted")])])


def title(event):
    return 'File whose content is not what its name says leaves'


def dedup(event):
    return str(event.deep_get("event", "id"))
