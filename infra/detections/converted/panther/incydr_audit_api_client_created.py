def rule(event):
    return any([any(value is not None and 'api_client_created' in str(value).lower() for value in [event.deep_get("type$")]), any(value is not None and 'api_client_secret' in str(value).lower() for value in [event.deep_get("type$")])])


def title(event):
    return 'API client created'
