def rule(event):
    return any(value is not None and str(value).lower() == 'support_user' for value in [event.deep_get("actorType")])


def title(event):
    return "The vendor's support signed in"
