def rule(event):
    return all([all([any(value is not None and str(value).lower() == 'api_client' for value in [event.deep_get("actorType")]), any(value is not None for value in [event.deep_get("actorIpAddress")])]), not any([any(value is not None and str(value).lower().startswith('192.0.2.') for value in [event.deep_get("actorIpAddress")]), any(value is not None and str(value).lower().startswith('198.51.100.') for value in [event.deep_get("actorIpAddress")])])])


def title(event):
    return 'API client from an address that is not among the known'
