def rule(event):
    return any(value is not None and str(value).lower() == 'must_not_be_deactivated' for value in [event.deep_get("finding")])


def title(event):
    return 'Somebody in legal hold or an open case, and an agent of theirs'
