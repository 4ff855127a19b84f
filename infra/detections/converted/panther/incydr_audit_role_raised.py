def rule(event):
    return all([any(value is not None and 'role' in str(value).lower() for value in [event.deep_get("type$")]), any([any(value is not None and 'added' in str(value).lower() for value in [event.deep_get("type$")]), any(value is not None and 'assigned' in str(value).lower() for value in [event.deep_get("type$")]), any(value is not None and 'granted' in str(value).lower() for value in [event.deep_get("type$")])])])


def title(event):
    return 'Role given to a user'
