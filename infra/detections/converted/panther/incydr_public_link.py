def rule(event):
    return all([any([any(value is not None and 'anyone with the link' in str(value).lower() for value in (event.deep_get("event", "shareType", default=[]) or [])), any(value is not None and 'anyonewithlink' in str(value).lower() for value in (event.deep_get("event", "shareType", default=[]) or [])), any(value is not None and 'publiclinkshare' in str(value).lower() for value in (event.deep_get("event", "shareType", default=[]) or []))]), not any(value is True for value in [event.deep_get("risk", "trusted")])])


def title(event):
    return 'File shared with anyone who has the link'


def dedup(event):
    return str(event.deep_get("event", "id"))
