def rule(event):
    return any(value is not None and str(value).lower() == 'silent_observer' for value in [event.deep_get("finding")])


def title(event):
    return 'Data connection fell silent'
