def rule(event):
    return all([any(value is not None for value in [event.deep_get("git", "repositoryUri")]), any(value is False for value in [event.deep_get("risk", "trusted")]), any(value is not None and str(value).lower() == 'source code repository' for value in [event.deep_get("destination", "category")])])


def title(event):
    return 'Push to an untrusted Git repository'


def dedup(event):
    return str(event.deep_get("event", "id"))
