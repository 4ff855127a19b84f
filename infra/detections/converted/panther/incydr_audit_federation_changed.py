def rule(event):
    return any(value is not None and str(value).lower().startswith('audit_log::federation_metadata_updated') for value in [event.deep_get("type$")])


def title(event):
    return 'Sign-on by federation changed'
