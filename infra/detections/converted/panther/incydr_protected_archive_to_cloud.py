def rule(event):
    return all([any(value is True for value in [event.deep_get("file", "passwordProtected")]), any(value is not None and str(value).lower() == 'cloud storage' for value in [event.deep_get("destination", "category")]), any(value is False for value in [event.deep_get("risk", "trusted")])])


def title(event):
    return 'Password-protected archive to an untrusted cloud storage'


def dedup(event):
    return str(event.deep_get("event", "id"))
