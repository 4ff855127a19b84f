def rule(event):
    return all([any(value is False for value in [event.deep_get("risk", "trusted")]), any([any(value is not None and str(value).lower() == 'moderate' for value in [event.deep_get("risk", "severity")]), any(value is not None and str(value).lower() == 'high' for value in [event.deep_get("risk", "severity")]), any(value is not None and str(value).lower() == 'critical' for value in [event.deep_get("risk", "severity")])]), any([any(value is not None and 'departing' in str(value).lower() for value in [item.get("name") for item in event.deep_get("risk", "indicators", default=[]) or []]), any(value is not None and 'flight risk' in str(value).lower() for value in [item.get("name") for item in event.deep_get("risk", "indicators", default=[]) or []]), any(value is not None and 'high impact' in str(value).lower() for value in [item.get("name") for item in event.deep_get("risk", "indicators", default=[]) or []]), any(value is not None and 'contract' in str(value).lower() for value in [item.get("name") for item in event.deep_get("risk", "indicators", default=[]) or []]), any(value is not None and 'elevated access' in str(value).lower() for value in [item.get("name") for item in event.deep_get("risk", "indicators", default=[]) or []]), any(value is not None and 'performance concerns' in str(value).lower() for value in [item.get("name") for item in event.deep_get("risk", "indicators", default=[]) or []]), any(value is not None and 'poor security practices' in str(value).lower() for value in [item.get("name") for item in event.deep_get("risk", "indicators", default=[]) or []]), any(value is not None and 'suspicious system activity' in str(value).lower() for value in [item.get("name") for item in event.deep_get("risk", "indicators", default=[]) or []])])])


def title(event):
    return 'A member of a watchlist moves files to an untrusted place'


def dedup(event):
    return str(event.deep_get("event", "id"))
