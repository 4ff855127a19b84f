def rule(event):
    return all([any([any(value is not None and 'admin' in str(value).lower() for value in [event.deep_get("roleName")]), any(value is not None and 'cloud admin' in str(value).lower() for value in [event.deep_get("roleName")]), any(value is not None and 'insider risk respond' in str(value).lower() for value in [event.deep_get("roleName")]), any(value is not None and 'security center user' in str(value).lower() for value in [event.deep_get("roleName")])]), not any(value is True for value in [event.deep_get("_deleted")])])


def title(event):
    return 'User has a role that administers'
