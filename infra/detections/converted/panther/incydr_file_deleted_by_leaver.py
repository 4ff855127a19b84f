def rule(event):
    return all([any([any(value is not None and str(value).lower() == 'file-deleted' for value in [event.deep_get("event", "action")]), any(value is not None and str(value).lower() == 'removable-media-deleted' for value in [event.deep_get("event", "action")]), any(value is not None and str(value).lower() == 'sync-app-deleted' for value in [event.deep_get("event", "action")])]), any(value is not None and 'departing' in str(value).lower() for value in [item.get("name") for item in event.deep_get("risk", "indicators", default=[]) or []])])


def title(event):
    return 'A leaver deletes a file'


def dedup(event):
    return str(event.deep_get("event", "id"))
